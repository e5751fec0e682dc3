import type { JsonObject } from "../core/json-file.js";

/** A piece of a turn, such as {"type": "text", "text": "..."}. */
export type ContentPart = JsonObject;

/**
 * A turn of a dialogue, as chat templates take it: what else the row has of it (tool_calls, name, reasoning_content) goes to the template as it stands.
 */
export interface ChatMessage {
  readonly role: string;
  /** Text, pieces of text, or null where the turn calls tools and says nothing. */
  readonly content: string | readonly ContentPart[] | null;
  readonly [field: string]: unknown;
}

/** A dialogue, and the tools that it may call, as JSON schemas. */
export interface Chat {
  readonly messages: readonly ChatMessage[];
  readonly tools?: readonly unknown[] | undefined;
}

/** What a turn says; pieces are joined by line ends. */
export const contentText = ({ content }: ChatMessage): string => {
  if (content === null) return "";
  if (typeof content === "string") return content;
  return content.map(({ text }) => (typeof text === "string" ? text : "")).join("\n");
};

/** Whether a chat template walks through the pieces of a turn, and so takes a list of them. */
export const takesParts = (source: string): boolean =>
  /\bfor\s+\w+\s+in\s+[\w.[\]'"]*\bcontent\b/.test(source);
