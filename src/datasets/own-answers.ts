import { basename } from "node:path";
import { UserError } from "../core/errors.js";
import { contentText, type Chat } from "../tokenizer/chat-message.js";
import { encodeTexts, type EncodeTextsOptions } from "../tokenizer/encode-texts.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";
import type { EncodedRow } from "./encoded-rows.js";
import type { DatasetMember } from "./family.js";
import type { OwnTemplate } from "./own-encode.js";
import type { OwnRow } from "./own-rows.js";
import { throwFaults, type RecordFile } from "./read-records.js";
import { isDatasetFile, type Dataset } from "./registry.js";
import type { Row } from "./rows.js";

/** What of a set decides how its rows are answered. */
export type AnsweredMember = Pick<
  DatasetMember,
  "maxContextTokens" | "maxNewTokens" | "evaluationBatchDivisor" | "decoding" | "answers"
>;

/** A person's own file whose rows are answered. */
export interface OwnDataset {
  readonly kind: "file";
  /** The file's name without its ending. */
  readonly name: string;
  readonly path: string;
  readonly member: AnsweredMember;
}

/** What has rows to answer. */
export type AnsweredSet = Dataset | OwnDataset;

/** Of an answer, where --max_new_tokens says nothing. */
const usualNewTokens = 256;

/** A file as what is answered: greedily, unless --beam_size or --do_sample says otherwise. Its prompts' length is that of the longest. */
export const ownDataset = (path: string, longestPrompt = 0): OwnDataset => ({
  kind: "file",
  name: basename(path).replace(/\.[a-z]+(?:\.gz)?$/, ""),
  path,
  member: {
    maxContextTokens: longestPrompt,
    maxNewTokens: usualNewTokens,
    evaluationBatchDivisor: 4,
    decoding: { beams: 1, lengthPenalty: 1, noRepeatNgramSize: 0, adjustable: true },
  },
});

/** The file that a --dataset names; undefined for a known set. */
export const ownDatasetOf = (name: string): OwnDataset | undefined =>
  isDatasetFile(name) ? ownDataset(name) : undefined;

/** Of a dialogue, the turns before the assistant's last one, and that one: what is asked and what is expected. */
const lastTurnOf = (chat: Chat): { readonly before: Chat; readonly said: string } => {
  const { messages, tools } = chat;
  const at = messages.findLastIndex(({ role }) => role === "assistant");
  const last = messages[at];
  return {
    before: { messages: messages.slice(0, at), tools },
    said: last === undefined ? "" : contentText(last),
  };
};

/**
 * The row as answers show it: the prompt's fields, or a line a turn; and what is expected.
 *
 * @returns in words why it cannot be answered
 */
const rowOf = (own: OwnRow): Row | string => {
  if (own.kind === "text") return "found text alone, expected a prompt and its target";
  if (own.kind === "pair") return { context: own.fields.prompt ?? "", target: own.target.trim() };
  const { before, said } = lastTurnOf(own);
  if (before.messages.length === 0)
    return "found nothing before the assistant's last turn, expected a turn";
  if (said.trim() === "") return "found no text in the assistant's last turn, expected some";
  const context = before.messages
    .map((message) => `${message.role}: ${contentText(message)}`)
    .join("\n");
  return { context, target: said.trim() };
};

/** The text that a row is answered from, without BOS where its template writes that. */
const promptOf = (own: OwnRow, template: OwnTemplate, bosToken: string): string => {
  if (own.kind === "pair" && template.prompt) return bosToken + template.prompt(own.fields);
  const chat =
    own.kind === "chat"
      ? lastTurnOf(own).before
      : {
          messages: [
            { role: "user", content: own.kind === "pair" ? (own.fields.prompt ?? "") : "" },
          ],
        };
  return template.chat?.prompt(chat) ?? "";
};

/** A file's rows with the prompts that ask them, number by number. */
export interface OwnPrompts {
  readonly rows: readonly Row[];
  readonly prompts: readonly EncodedRow[];
  /** Tokens of the longest prompt. */
  readonly longest: number;
}

/**
 * The prompts of rows as in training, without their targets: of a chat, the turns before the assistant's last one, with what its template
 * puts in front of an answer.
 *
 * @param most tokens that a prompt may have: none is cut, since that would take what asks for the answer
 * @throws {UserError} if rows have no target, a template refuses them, or a prompt is longer: all of them, up to ten
 */
export const encodeOwnPrompts = async (
  { path, records }: RecordFile,
  own: readonly OwnRow[],
  {
    tokenizer,
    template,
    most,
    encoding,
  }: {
    readonly tokenizer: Tokenizer;
    readonly template: OwnTemplate;
    readonly most: number;
    readonly encoding?: EncodeTextsOptions;
  },
): Promise<OwnPrompts> => {
  if (own[0]?.kind === "text")
    throw new UserError(
      `Cannot answer the rows of ${path}: found text alone, expected prompts with their targets`,
      `hira perplexity --input=${path} measures how well a model predicts it`,
    );
  const faults: string[] = [];
  const told = (row: number, fault: string): void => {
    faults.push(`${records[row]?.place ?? ""}: ${fault}`);
  };
  const rows: Row[] = [];
  const texts: string[] = [];
  for (const [i, each] of own.entries()) {
    const row = rowOf(each);
    if (typeof row === "string") {
      told(i, row);
      continue;
    }
    rows.push(row);
    try {
      texts.push(promptOf(each, template, tokenizer.bosToken ?? ""));
    } catch (error) {
      told(i, `the template says: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  throwFaults(path, faults, "Mend or remove these rows");
  const { table } = await encodeTexts(tokenizer, texts, encoding);
  const prompts = texts.map((_, row): EncodedRow => {
    const ids = table.at(row);
    if (ids.length > most)
      told(row, `found a prompt of ${String(ids.length)} tokens, expected at most ${String(most)}`);
    if (ids.length === 0) told(row, "found a prompt without a token, expected one at least");
    return { row, ids, contextLength: ids.length };
  });
  throwFaults(
    path,
    faults,
    "Allow longer prompts with --max_length, or fewer new tokens with --max_new_tokens, or shorten these",
  );
  const longest = prompts.reduce((length, { ids }) => Math.max(length, ids.length), 0);
  return { rows, prompts, longest };
};
