import { readFile } from "node:fs/promises";
import { Template } from "@huggingface/jinja";
import { didYouMean, messageOf, UserError } from "../core/errors.js";
import { chatMl, chatTemplateOf, makeChatTemplate } from "../tokenizer/chat-template.js";
import type { Chat } from "../tokenizer/chat-message.js";
import type { ChatTemplate } from "../tokenizer/chat-template.js";
import { encodeTexts, type EncodeTextsOptions } from "../tokenizer/encode-texts.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";
import { countLabels, noLoss, type EncodedRow } from "./encoded-rows.js";
import type { OwnForm, OwnRow } from "./own-rows.js";
import { throwFaults, type RecordFile } from "./read-records.js";
import { fieldsOfTemplate } from "./template-fields.js";
import { contextText, templates } from "./templates.js";

/** The names that --template takes; anything else is a file. */
export const ownTemplateNames = ["plain", "alpaca", "qa", "chat", "chatml"] as const;

/** How rows become text. */
export interface OwnTemplate {
  /** As the person is told. */
  readonly name: string;
  /** The text before a pair's target. */
  prompt?(fields: Readonly<Record<string, string>>): string;
  /** What stands between prompt and target, and is learnt with it. */
  readonly before?: string;
  /** The fields that a template of the person's own writes into every prompt. */
  readonly reads?: ReadonlySet<string>;
  readonly chat?: ChatTemplate;
}

/**
 * The template of a file's rows: what --template says, else what its form goes by.
 *
 * @throws {UserError} if it is missing or broken, or the tokenizer has no chat template
 */
export const openOwnTemplate = async (
  form: OwnForm,
  asked: string | undefined,
  tokenizer: Tokenizer,
): Promise<OwnTemplate> => {
  const name = asked ?? (form.kind === "chat" ? "chat" : form.template);
  if (form.kind === "text") {
    if (asked !== undefined)
      throw new UserError(
        `Cannot use --template ${asked}: found rows of text alone, expected prompts or chats`,
        "Leave it out: a text is learnt as it stands",
      );
    return { name: "none" };
  }
  if (name === "chat") {
    const text = await chatTemplateOf(tokenizer);
    if (text === undefined)
      throw new UserError(
        `Cannot write chats for ${tokenizer.source.name}: found no chat template in its tokenizer_config.json or chat_template.jinja`,
        "Give one with --template FILE, or use --template chatml",
      );
    return {
      name: "the tokenizer's chat template",
      chat: makeChatTemplate(text, tokenizer, tokenizer.source.name),
    };
  }
  if (name === "chatml")
    return { name: "chatml", chat: makeChatTemplate(chatMl, tokenizer, "chatml") };
  const isNamed = (ownTemplateNames as readonly string[]).includes(name ?? "");
  if (form.kind === "chat") {
    if (isNamed)
      throw new UserError(
        `Cannot use --template ${name ?? ""}: found rows of chats, expected chat, chatml or a file`,
      );
    return {
      name: name ?? "",
      chat: makeChatTemplate(await readTemplate(name), tokenizer, name ?? ""),
    };
  }
  if (name === "alpaca")
    return {
      name,
      prompt: ({ instruction = "", input = "" }) =>
        contextText(templates[4], instruction, input === "" ? undefined : input),
    };
  if (name === "qa")
    return { name, prompt: ({ prompt = "" }) => `Question: ${prompt}\nAnswer:`, before: " " };
  if (name === "plain") return { name, prompt: ({ prompt = "" }) => prompt };
  const source = await readTemplate(name);
  try {
    const template = new Template(source);
    return {
      name: name ?? "",
      reads: fieldsOfTemplate(source),
      prompt: (fields) => template.render({ ...fields }),
    };
  } catch (error) {
    throw new UserError(
      `Cannot use --template ${name ?? ""}: ${messageOf(error)}`,
      "Expected a Jinja template of the prompt, with a row's fields as {{ instruction }}",
    );
  }
};

const readTemplate = async (path = ""): Promise<string> => {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw new UserError(
      `Cannot read --template ${path}: ${messageOf(error)}`,
      `Name a file, or one of ${ownTemplateNames.join(", ")}`,
    );
  }
};

/** Rows of an own file as token ids, and what the limit took of them. */
export interface OwnEncoded {
  readonly rows: readonly EncodedRow[];
  /** The tokens that the limit has cut off, by the row's number. */
  readonly cut: ReadonlyMap<number, Int32Array>;
  /** Numbers of the texts that go on in further rows. */
  readonly continued: readonly number[];
  /** Numbers of the rows without a token to learn, where these are only counted. */
  readonly unlabelled: readonly number[];
  /** Tokens of every row before any is cut: without loss, and with it. */
  readonly wholeLengths: readonly { readonly context: number; readonly target: number }[];
  /** Numbers of the chats whose template rewrites earlier turns. */
  readonly rewritten: readonly number[];
}

/** How rows of an own file become token ids. */
export interface OwnEncoding {
  readonly tokenizer: Tokenizer;
  readonly template: OwnTemplate;
  /** Of a whole row. */
  readonly maxLength: number;
  /** Numbers of the rows in their file; all of them if not given. */
  readonly numbers: readonly number[];
  /** Whether rows without a token to learn are only counted. */
  readonly allowsUnlabelled?: boolean;
  readonly encoding?: EncodeTextsOptions;
}

/** @throws {UserError} if a template writes a field that no row has: Jinja writes nothing there, and says nothing of it */
const requireFields = (
  path: string,
  rows: readonly OwnRow[],
  { name, reads = new Set() }: OwnTemplate,
): void => {
  const known = new Set(
    rows.flatMap((row) => (row.kind === "pair" ? Object.keys(row.fields) : [])),
  );
  const missing = [...reads].filter((field) => !known.has(field));
  if (missing.length === 0 || known.size === 0) return;
  throw new UserError(
    `Cannot use --template ${name} on ${path}: found ${missing.map((field) => `{{ ${field} }}`).join(", ")}, expected fields of its rows that are texts: ${[...known].join(", ")}`,
    didYouMean(missing[0] ?? "", [...known]) ??
      "A field that only some rows have is asked for with {% if field %}",
  );
};

/** What of a row's whole text is learnt, as texts whose ids say where. */
interface Piece {
  readonly row: number;
  /** The texts whose ids follow each other. A pair is encoded in two parts, all else in one. */
  readonly parts: readonly string[];
  /** Of the first part: beginnings of it where the loss begins and ends, in turn. */
  readonly bounds: readonly string[];
  readonly kind: OwnRow["kind"];
  readonly isRewritten?: boolean;
}

/**
 * Rows as token ids: a pair is BOS + prompt, then the target + EOS with loss; a text is BOS + text + EOS, all with loss, and goes on
 * in further rows behind `maxLength` tokens; a chat is as its template writes it, with loss on the assistant's turns.
 *
 * A pair or chat over `maxLength` tokens loses its end.
 * @throws {UserError} if a template refuses rows, or rows keep no label: all of them, up to ten
 */
export const encodeOwnRows = async (
  { path, records }: RecordFile,
  rows: readonly OwnRow[],
  { tokenizer, template, maxLength, numbers, allowsUnlabelled = false, encoding }: OwnEncoding,
): Promise<OwnEncoded> => {
  const placeOf = (row: number): string => records[row]?.place ?? "";
  requireFields(path, rows, template);
  const faults: string[] = [];
  const pieces = numbers.flatMap((row): Piece[] => {
    const own = rows[row];
    const piece = own && pieceOf(own, row, template, tokenizer);
    if (typeof piece === "object") return [piece];
    faults.push(`${placeOf(row)}: ${piece ?? "found no row"}`);
    return [];
  });
  throwFaults(
    path,
    faults,
    "Mend these rows, or give a chat template with {% generation %} marks by --template FILE",
  );
  const { table } = await encodeTexts(
    tokenizer,
    pieces.flatMap(({ parts, bounds }) => [...parts, ...bounds]),
    encoding,
  );
  let at = 0;
  const next = (): Int32Array => table.at(at++);
  const encoded: EncodedRow[] = [];
  const cut = new Map<number, Int32Array>();
  const continued: number[] = [];
  const unlabelled: number[] = [];
  const faultsOfLength: string[] = [];
  const wholeLengths: { context: number; target: number }[] = [];
  for (const { row, parts, bounds, kind } of pieces) {
    const ids = parts.map(next);
    const whole = Int32Array.from(ids.flatMap((part) => [...part]));
    const labels =
      kind === "chat"
        ? labelsBetween(whole, bounds.map(next))
        : whole.map((id, i) => (kind === "pair" && i < (ids[0]?.length ?? 0) ? noLoss : id));
    const isLong = whole.length > maxLength;
    const step = kind === "text" ? maxLength : whole.length;
    for (let start = 0; start < whole.length; start += step) {
      const part = makeRow(row, whole, labels, { start, end: start + maxLength });
      if (countLabels(part) > 0) encoded.push(part);
      // The last token of a long text may stand alone, with nothing before it that could predict it.
      else if (start === 0) {
        unlabelled.push(row);
        if (allowsUnlabelled) encoded.push(part);
        faultsOfLength.push(
          `${placeOf(row)}: found no token to learn${isLong ? ` among the first ${String(maxLength)} of ${String(whole.length)}` : ""}, expected one at least`,
        );
      }
    }
    const learnt = labels.reduce((sum, label) => sum + (label === noLoss ? 0 : 1), 0);
    wholeLengths.push({ context: whole.length - learnt, target: learnt });
    if (isLong && kind === "text") continued.push(row);
    else if (isLong) cut.set(row, whole.slice(maxLength));
  }
  if (!allowsUnlabelled)
    throwFaults(
      path,
      faultsOfLength,
      "Allow longer rows with --max_length, or mend or remove these",
    );
  const rewritten = pieces.flatMap(({ row, isRewritten }) => (isRewritten === true ? [row] : []));
  return { rows: encoded, cut, continued, unlabelled, wholeLengths, rewritten };
};

const makeRow = (
  row: number,
  whole: Int32Array,
  allLabels: Int32Array,
  { start, end }: { readonly start: number; readonly end: number },
): EncodedRow => {
  const [ids, labels] = [whole.slice(start, end), allLabels.slice(start, end)];
  const first = labels.findIndex((label) => label !== noLoss);
  return { row, ids, contextLength: first < 0 ? ids.length : first, labels };
};

/** The texts of a row, or what is wrong with it. */
const pieceOf = (
  own: OwnRow,
  row: number,
  template: OwnTemplate,
  { bosToken = "", eosToken = "" }: Tokenizer,
): Piece | string => {
  if (own.kind === "text")
    return { row, kind: "text", parts: [bosToken + own.text + eosToken], bounds: [] };
  if (own.kind === "pair" && template.prompt) {
    let prompt: string;
    try {
      prompt = template.prompt(own.fields);
    } catch (error) {
      return `the template says: ${messageOf(error)}`;
    }
    const target = `${template.before ?? ""}${own.target}${eosToken}`;
    return { row, kind: "pair", parts: [bosToken + prompt, target], bounds: [] };
  }
  const chat = template.chat?.render(chatOf(own)) ?? "found no chat template";
  if (typeof chat === "string") return chat;
  const bounds = chat.assistant.flatMap(({ start, end }) => [
    chat.text.slice(0, start),
    chat.text.slice(0, end),
  ]);
  const isRewritten = chat.isRewritten === true;
  return { row, kind: "chat", parts: [chat.text], bounds, isRewritten };
};

/** A row as a dialogue: of a prompt and its target, two turns. */
const chatOf = (own: Exclude<OwnRow, { kind: "text" }>): Chat =>
  own.kind === "chat"
    ? own
    : {
        messages: [
          { role: "user", content: own.fields.prompt ?? "" },
          { role: "assistant", content: own.target },
        ],
      };

/** Tokens that two encodings have alike from their start on. */
const commonLength = (a: Int32Array, b: Int32Array): number => {
  const end = Math.min(a.length, b.length);
  let i = 0;
  while (i < end && a[i] === b[i]) i++;
  return i;
};

/** Labels between the ends of beginnings, taken in twos. A token that lies across an end counts as inside, as in transformers. */
const labelsBetween = (whole: Int32Array, bounds: readonly Int32Array[]): Int32Array => {
  const labels = new Int32Array(whole.length).fill(noLoss);
  for (let i = 0; i + 1 < bounds.length; i += 2) {
    const [from, to] = [bounds[i] ?? whole, bounds[i + 1] ?? whole];
    const start = commonLength(whole, from);
    const same = commonLength(whole, to);
    const end = same === to.length ? same : Math.min(whole.length, same + 1);
    labels.set(whole.subarray(start, end), start);
  }
  return labels;
};
