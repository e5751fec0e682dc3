import type { Compat } from "../core/compat.js";
import type { EncodeTextsOptions } from "../tokenizer/encode-texts.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";
import type { EncodedRow } from "./encoded-rows.js";
import type { Template } from "./templates.js";

/** What rows are encoded with, and how long they may be. */
export interface EncodingOptions {
  readonly tokenizer: Tokenizer;
  readonly template: Template;
  /** Of the context, BOS included. */
  readonly maxContextTokens: number;
  readonly compat?: Compat | undefined;
  /** The rows' file, for error messages. */
  readonly path: string;
  /** Threads, cache and progress of the tokenizer. */
  readonly encoding?: EncodeTextsOptions | undefined;
}

/** What comes of rows that are encoded. */
export interface EncodedSet {
  readonly rows: readonly EncodedRow[];
  /** Numbers of the rows whose context was longer than its limit. */
  readonly cutContexts: readonly number[];
  /** Numbers of the rows whose target (with its EOS) was longer than its limit. */
  readonly cutTargets: readonly number[];
  /** Numbers of the rows that have no labelled token. */
  readonly unlabelled: readonly number[];
  /** Tokens of every row before any is cut: BOS included where it is put in, and EOS. */
  readonly wholeLengths: readonly { readonly context: number; readonly target: number }[];
}
