import type { JsonObject } from "../core/json-file.js";
import { describeJson, isJsonObject, tryParseJson } from "../core/json.js";
import type { Chat, ChatMessage } from "../tokenizer/chat-message.js";
import { throwFaults, type RecordFile } from "./read-records.js";

/** How a row of a person's own file says what to learn. */
export type OwnRow =
  | {
      readonly kind: "pair";
      /** What a template may put into the prompt: the row's fields that are texts, and `prompt`. */
      readonly fields: Readonly<Record<string, string>>;
      readonly target: string;
    }
  | { readonly kind: "text"; readonly text: string }
  | ({ readonly kind: "chat" } & Chat);

/** A form of rows, which the fields of a file's first row decide. */
export interface OwnForm {
  readonly kind: OwnRow["kind"];
  /** As the person is told: `instruction/input/output`. */
  readonly name: string;
  /** The template of pairs, where --template names none. */
  readonly template: "plain" | "alpaca" | "qa" | undefined;
  readonly fields: readonly string[];
  /** The row, or what is wrong with it. */
  parse(value: Readonly<Record<string, unknown>>): OwnRow | string;
}

/** The fields by which the person says where prompt and target stand. */
export interface OwnFields {
  readonly promptField?: string | undefined;
  readonly targetField?: string | undefined;
}

const wrongField = (value: Readonly<Record<string, unknown>>, field: string): string => {
  if (value[field] !== undefined)
    return `found ${describeJson(value[field])} in ${field}, expected text`;
  const names = Object.keys(value);
  return `found ${names.length > 0 ? `fields ${names.join(", ")}` : "no fields"}, expected ${field}`;
};

const textFields = (value: Readonly<Record<string, unknown>>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(value).filter(
      (entry): entry is [string, string] => typeof entry[1] === "string",
    ),
  );

const pairForm = (
  prompt: string,
  target: string,
  template: OwnForm["template"],
  optional?: string,
): OwnForm => ({
  kind: "pair",
  name: [prompt, ...(optional === undefined ? [] : [optional]), target].join("/"),
  template,
  fields: [prompt, ...(optional === undefined ? [] : [optional]), target],
  parse(value) {
    for (const field of [prompt, target])
      if (typeof value[field] !== "string") return wrongField(value, field);
    const more = optional === undefined ? undefined : (value[optional] ?? undefined);
    if (optional !== undefined && more !== undefined && typeof more !== "string")
      return wrongField(value, optional);
    const [asked, said] = [String(value[prompt]), String(value[target])];
    if (said.trim() === "") return `found an empty ${target}, expected text to learn`;
    const input = typeof more === "string" && more.trim() !== "" ? more : undefined;
    return {
      kind: "pair",
      fields: {
        ...textFields(value),
        prompt: input === undefined ? asked : `${asked}\n\n${input}`,
        instruction: asked,
        ...(optional !== undefined && { [optional]: input ?? "" }),
      },
      target: said,
    };
  },
});

const textForm: OwnForm = {
  kind: "text",
  name: "text",
  template: undefined,
  fields: ["text"],
  parse(value) {
    if (typeof value.text !== "string") return wrongField(value, "text");
    if (value.text === "") return "found an empty text, expected something to learn";
    return { kind: "text", text: value.text };
  },
};

// ShareGPT's names of the speakers, and those of files that follow it.
const speakers: Readonly<Record<string, string>> = {
  human: "user",
  user: "user",
  gpt: "assistant",
  chatgpt: "assistant",
  assistant: "assistant",
  bot: "assistant",
  model: "assistant",
  system: "system",
  tool: "tool",
  observation: "tool",
};

const parseMessage = (item: unknown, where: string): ChatMessage | string => {
  if (!isJsonObject(item)) return `found ${describeJson(item)} in ${where}, expected a turn`;
  const shareGpt = item.role === undefined && item.from !== undefined;
  const [who, what] = shareGpt ? (["from", "value"] as const) : (["role", "content"] as const);
  const [speaker, content] = [item[who], item[what]];
  if (typeof speaker !== "string")
    return `found ${describeJson(speaker)} in ${who} of ${where}, expected text`;
  const role = shareGpt ? speakers[speaker] : speaker;
  if (role === undefined)
    return `found ${JSON.stringify(speaker)} in from of ${where}, expected one of ${Object.keys(speakers).join(", ")}`;
  const more = shareGpt ? {} : item;
  const calls = more["tool_calls"] ?? undefined;
  if (calls !== undefined && !Array.isArray(calls))
    return `found ${describeJson(calls)} in tool_calls of ${where}, expected an array`;
  const text = contentOf(content, {
    field: `${what} of ${where}`,
    mayBeSilent: calls !== undefined,
  });
  return typeof text === "object" && text !== null && "fault" in text
    ? text.fault
    : { ...more, role, content: text };
};

/** The content of a turn, or what is wrong with it: text, or a list of pieces of text; none where the turn calls tools. */
const contentOf = (
  content: unknown,
  { field, mayBeSilent }: { readonly field: string; readonly mayBeSilent: boolean },
): ChatMessage["content"] | { readonly fault: string } => {
  if (typeof content === "string") return content;
  if (mayBeSilent && (content ?? null) === null) return null;
  if (!Array.isArray(content))
    return { fault: `found ${describeJson(content)} in ${field}, expected text` };
  const parts: JsonObject[] = [];
  for (const [i, part] of content.entries()) {
    const type = isJsonObject(part) ? (part["type"] ?? "text") : undefined;
    if (!isJsonObject(part) || type !== "text" || typeof part["text"] !== "string")
      return {
        fault: `found ${typeof type === "string" && type !== "text" ? `a piece of type ${JSON.stringify(type)}` : describeJson(part)} in piece ${String(i + 1)} of ${field}, expected {"type": "text", "text": ...}`,
      };
    parts.push(part);
  }
  return parts;
};

/** The tools of a row: a list, or its JSON text, as data sets on the Hub store it; or what is wrong with them. */
const toolsOf = (tools: unknown): readonly unknown[] | undefined | string => {
  if (tools === undefined || tools === null || tools === "") return undefined;
  const parsed = typeof tools === "string" ? tryParseJson(tools) : { value: tools };
  if ("value" in parsed && Array.isArray(parsed.value)) return parsed.value as unknown[];
  return `found ${typeof tools === "string" ? "text that is no JSON array" : describeJson(tools)} in tools, expected an array of JSON schemas`;
};

const chatForm = (field: string): OwnForm => ({
  kind: "chat",
  name: `chats (${field})`,
  template: undefined,
  fields: [field, "system", "tools"],
  parse(value) {
    const turns = value[field];
    if (!Array.isArray(turns))
      return turns === undefined
        ? wrongField(value, field)
        : `found ${describeJson(turns)} in ${field}, expected an array of turns`;
    if (turns.length === 0) return `found no turns in ${field}, expected a dialogue`;
    const messages: ChatMessage[] = [];
    for (const [i, turn] of turns.entries()) {
      const message = parseMessage(turn, `${field}[${String(i)}]`);
      if (typeof message === "string") return message;
      messages.push(message);
    }
    const roles = new Set(messages.map(({ role }) => role).filter((role) => role !== "system"));
    if (!roles.has("assistant") || roles.size < 2)
      return `found turns of ${[...roles].join(", ") || "system"} alone, expected a user's and an assistant's`;
    const { system } = value;
    const tools = toolsOf(value["tools"]);
    if (typeof tools === "string") return tools;
    return {
      kind: "chat",
      ...(tools !== undefined && { tools }),
      messages:
        typeof system === "string" && system !== "" && messages[0]?.role !== "system"
          ? [{ role: "system", content: system }, ...messages]
          : messages,
    };
  },
});

const has = (value: Readonly<Record<string, unknown>>, ...fields: readonly string[]): boolean =>
  fields.every((field) => value[field] !== undefined);

/**
 * The form of rows with these fields: by --prompt_field and --target_field, else the first that fits of chats
 * (`messages`, `conversations`), prompt/completion, instruction/input/output, question/answer, `text`. Undefined where none fits.
 */
export const recogniseForm = (
  value: Readonly<Record<string, unknown>>,
  { promptField, targetField }: OwnFields = {},
): OwnForm | undefined => {
  if (promptField !== undefined && targetField !== undefined)
    return pairForm(promptField, targetField, "plain");
  if (targetField !== undefined) {
    const prompt = ["prompt", "instruction", "question", "input"].find((name) => has(value, name));
    return prompt === undefined ? undefined : pairForm(prompt, targetField, "plain");
  }
  if (promptField !== undefined) {
    const target = ["completion", "output", "answer", "response"].find((name) => has(value, name));
    return target === undefined ? undefined : pairForm(promptField, target, "plain");
  }
  for (const field of ["messages", "conversations"]) if (has(value, field)) return chatForm(field);
  if (has(value, "prompt", "completion")) return pairForm("prompt", "completion", "plain");
  if (has(value, "instruction", "output"))
    return pairForm("instruction", "output", "alpaca", "input");
  if (has(value, "question", "answer")) return pairForm("question", "answer", "qa");
  return has(value, "text") ? textForm : undefined;
};

const formHint = [
  "A row has the fields of one of these forms",
  "  messages, or conversations (chats)",
  "  prompt and completion",
  "  instruction and output, and input if there is one",
  "  question and answer",
  "  text",
  "  input_ids and labels (token ids)",
  "Others are named with --prompt_field and --target_field",
].join("\n");

/**
 * The rows of a file, all in the form of its first.
 *
 * @throws {UserError} if no form fits, or rows are not in it: every fault with its place, up to ten
 */
export const parseOwnRows = (
  { path, records }: RecordFile,
  fields: OwnFields = {},
): { readonly form: OwnForm; readonly rows: readonly OwnRow[] } => {
  const [first] = records;
  const form = first && recogniseForm(first.value, fields);
  if (first === undefined || form === undefined) {
    const names = Object.keys(first?.value ?? {}).join(", ");
    const asked =
      fields.promptField === undefined && fields.targetField === undefined
        ? "fields that say what to learn"
        : "the other side of the flag's field under a known name";
    throwFaults(
      path,
      [
        `${first?.place ?? "row 1"}: found fields ${names === "" ? "of no name" : names}, expected ${asked}`,
      ],
      formHint,
    );
    throw new RangeError("Cannot come here: there was a fault");
  }
  const faults: string[] = [];
  const rows = records.flatMap(({ place, value }): OwnRow[] => {
    const row = form.parse(value);
    if (typeof row !== "string") return [row];
    faults.push(`${place}: ${row}`);
    return [];
  });
  throwFaults(
    path,
    faults,
    `The first row makes this a file of ${form.name}: mend or remove these`,
  );
  return { form, rows };
};
