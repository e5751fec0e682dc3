import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Template } from "@huggingface/jinja";
import { isNotFound, messageOf, UserError } from "../core/errors.js";
import { isJsonObject, parseJson } from "../core/json.js";
import { contentText, takesParts, type Chat, type ChatMessage } from "./chat-message.js";
import type { Tokenizer } from "./tokenizer.js";

/** Places of a text, in UTF-16 units: [start, end). */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** A dialogue as one text, and which parts of it the assistant has said. */
export interface RenderedChat {
  readonly text: string;
  readonly assistant: readonly Span[];
  /** Whether the template has rewritten earlier turns, such as by leaving out thoughts. */
  readonly isRewritten?: boolean;
}

/** A tokenizer's chat template, compiled. */
export interface ChatTemplate {
  /** How the assistant's turns are found: by marks in the template, or by what each turn adds to the text. */
  readonly finds: "marks" | "turns";
  /** The dialogue, or in words what is wrong with it. */
  render(chat: Chat): RenderedChat | string;
  /** The dialogue with what stands before the assistant's next turn. @throws {Error} what the template says of it */
  prompt(chat: Chat): string;
}

/** ChatML, for tokenizers that come without a template. Its marks are texts: a tokenizer may not have them as tokens. */
export const chatMl =
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

// Noncharacters of Unicode: no text means anything by them.
const [opens, closes] = ["\ufdd0", "\ufdd1"];

/**
 * The template with a character in place of each `{% generation %}` and `{% endgeneration %}`, and whether there was one.
 *
 * White space around them goes as transformers has it: trim_blocks and lstrip_blocks, and the tags' own minus signs.
 */
const markGeneration = (source: string): { readonly marked: string; readonly has: boolean } => {
  let has = false;
  const marked = source.replace(
    /(?:(?<=^|\n)[ \t]*)?\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}(?:\n(?:[ \t]*(?=\{[%#]))?)?/g,
    (_, left: string, end: string | undefined, right: string) => {
      has = true;
      const [before, after] = [left === "-" ? "-" : "", right === "-" ? "-" : ""];
      return `{{${before} "${end === undefined ? opens : closes}" ${after}}}`;
    },
  );
  return { marked, has };
};

/** A text without its marks, and what stood between them. */
const takeMarks = (text: string): RenderedChat => {
  let plain = "";
  const assistant: Span[] = [];
  let start = 0;
  for (const part of text.split(/([\ufdd0\ufdd1])/)) {
    if (part === opens) start = plain.length;
    else if (part === closes) assistant.push({ start, end: plain.length });
    else plain += part;
  }
  return { text: plain, assistant: assistant.filter((span) => span.end > span.start) };
};

/**
 * Makes a chat template of its text.
 *
 * With `{% generation %}` marks the assistant's turns are what they enclose, as transformers' return_assistant_tokens_mask
 * has it. Without them a turn is what it adds to the text behind the prompt for it (add_generation_prompt), up to and with
 * the token that ends it; white space behind that token is nobody's.
 * @param name stands in messages
 * @throws {UserError} if the text is no template
 */
export const makeChatTemplate = (
  source: string,
  tokenizer: Pick<Tokenizer, "bosToken" | "eosToken" | "padToken">,
  name: string,
): ChatTemplate => {
  const { marked, has } = markGeneration(source);
  let template: Template;
  try {
    template = new Template(marked);
  } catch (error) {
    throw new UserError(
      `Cannot use the chat template of ${name}: ${messageOf(error)}`,
      "Expected a Jinja template as transformers takes it",
    );
  }
  const readsParts = takesParts(source);
  const write = ({ messages, tools }: Chat, asks = false): string =>
    template.render({
      messages: readsParts
        ? messages
        : messages.map((message) =>
            Array.isArray(message.content)
              ? { ...message, content: contentText(message) }
              : message,
          ),
      add_generation_prompt: asks,
      tools: tools ?? null,
      documents: null,
      bos_token: tokenizer.bosToken ?? "",
      eos_token: tokenizer.eosToken ?? "",
      pad_token: tokenizer.padToken,
    });
  const byMarks = (chat: Chat): RenderedChat | string => {
    const rendered = takeMarks(write(chat));
    return rendered.assistant.length > 0
      ? rendered
      : `the chat template marks nothing as the assistant's in turns of ${rolesOf(chat.messages)}`;
  };
  const byTurns = (chat: Chat): RenderedChat | string => {
    const { messages } = chat;
    const text = write(chat);
    const assistant: Span[] = [];
    for (const [i, message] of messages.entries()) {
      if (message.role !== "assistant") continue;
      const content = contentText(message).trim();
      const part = (turns: number): Chat => ({ ...chat, messages: messages.slice(0, turns) });
      const upTo = i + 1 === messages.length ? text : write(part(i + 1));
      const silent = i === 0 ? "" : write(part(i));
      const asked = i === 0 ? "" : write(part(i), true);
      const follows = text.startsWith(upTo) && upTo.startsWith(silent);
      // A template that does not know add_generation_prompt: what was said begins the turn.
      const knows = asked.length > silent.length && upTo.startsWith(asked);
      const start = knows
        ? asked.length
        : content === ""
          ? -1
          : upTo.indexOf(content, silent.length);
      if (!follows || start < 0)
        return (
          byPrompts(chat, { text, write, eosToken: tokenizer.eosToken }) ??
          `the chat template does not write turn ${String(i + 1)}, the assistant's, behind the turns before it as it stands`
        );
      assistant.push({ start, end: endOfTurn(upTo, start, tokenizer.eosToken) });
    }
    return { text, assistant };
  };
  return {
    finds: has ? "marks" : "turns",
    prompt: (chat) => takeMarks(write(chat, true)).text,
    render(chat) {
      if (/[\ufdd0\ufdd1]/.test(JSON.stringify(chat)))
        return "found U+FDD0 or U+FDD1 in a turn, expected text without these noncharacters";
      try {
        return has ? byMarks(chat) : byTurns(chat);
      } catch (error) {
        return `the chat template says: ${messageOf(error)}`;
      }
    },
  };
};

/** The places of a text in which another one stands. */
const placesOf = (text: string, part: string): readonly number[] => {
  const places: number[] = [];
  for (let at = text.indexOf(part); at >= 0; at = text.indexOf(part, at + part.length))
    places.push(at);
  return places;
};

/**
 * The assistant's turns of a text in which the template rewrites earlier ones, as Qwen3's drops their thoughts: each from behind the prompt for
 * it, which stands as often as there are such turns, to the first token that ends one.
 *
 * Undefined where the prompts are not as many, or where a turn lacks what was said (but for thoughts): nobody could say then what the assistant's is.
 */
const byPrompts = (
  chat: Chat,
  {
    text,
    write,
    eosToken,
  }: {
    readonly text: string;
    readonly write: (chat: Chat, asks?: boolean) => string;
    readonly eosToken: string | undefined;
  },
): RenderedChat | undefined => {
  const { messages } = chat;
  const first = messages.findIndex(({ role }) => role === "assistant");
  if (first < 1) return undefined;
  const before = { ...chat, messages: messages.slice(0, first) };
  const [silent, asked] = [write(before), write(before, true)];
  const prompt = asked.startsWith(silent) ? asked.slice(silent.length) : "";
  const starts = prompt === "" ? [] : placesOf(text, prompt).map((at) => at + prompt.length);
  const said = messages.filter(({ role }) => role === "assistant");
  if (starts.length !== said.length) return undefined;
  const last = messages.findLastIndex(({ role }) => role === "assistant");
  const through = write({ ...chat, messages: messages.slice(0, last + 1) }).trimEnd();
  const ending =
    /<\|[^|<>]+\|>$/.exec(through)?.[0] ??
    (eosToken !== undefined && through.endsWith(eosToken) ? eosToken : undefined);
  if (ending === undefined) return undefined;
  const assistant: Span[] = [];
  for (const [i, message] of said.entries()) {
    const start = starts[i] ?? 0;
    const at = text.indexOf(ending, start);
    const end = at + ending.length;
    const kept = (contentText(message).split("</think>").at(-1) ?? "").trim();
    const isWhole = at >= 0 && end <= (starts[i + 1] ?? text.length);
    if (!isWhole || !text.slice(start, end).includes(kept)) return undefined;
    assistant.push({ start, end });
  }
  return { text, assistant, isRewritten: true };
};

/** Where a turn ends: behind the token that ends it, if only white space follows. */
const endOfTurn = (text: string, start: number, eosToken: string | undefined): number => {
  const trimmed = text.slice(start).trimEnd();
  const ends =
    /<\|[^|<>]+\|>$/.test(trimmed) || (eosToken !== undefined && trimmed.endsWith(eosToken));
  return ends ? start + trimmed.length : text.length;
};

const rolesOf = (messages: readonly ChatMessage[]): string =>
  [...new Set(messages.map(({ role }) => role))].join(", ");

/** The text of the chat template in a tokenizer's folder: chat_template.jinja, else tokenizer_config.json's; undefined where there is none. */
export const chatTemplateOf = async ({ source }: Tokenizer): Promise<string | undefined> => {
  try {
    return await readFile(join(source.name, "chat_template.jinja"), "utf8");
  } catch (error) {
    if (
      !isNotFound(error) &&
      !(error instanceof Error && "code" in error && error.code === "ENOTDIR")
    )
      throw new UserError(
        `Cannot read ${join(source.name, "chat_template.jinja")}: ${messageOf(error)}`,
      );
  }
  const config = parseJson(
    source.tokenizerConfigJson ?? "{}",
    `${source.name}/tokenizer_config.json`,
  );
  const stated = isJsonObject(config) ? config.chat_template : undefined;
  if (typeof stated === "string") return stated;
  // Several by name: [{ name, template }].
  const named = (Array.isArray(stated) ? stated : []).filter(isJsonObject);
  const found = named.find(({ name }) => name === "default") ?? named[0];
  return typeof found?.template === "string" ? found.template : undefined;
};
