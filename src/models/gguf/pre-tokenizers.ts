import type { JsonObject } from "../../core/json-file.js";

/** How byte-level BPE cuts texts before it merges, as tokenizer.json says it. */
export interface PreTokenizer {
  readonly preTokenizer: JsonObject;
  readonly normalizer?: JsonObject;
  /** Whether a word of the vocabulary is taken whole, whatever the merges say. */
  readonly ignoresMerges?: boolean;
}

const byteLevel = (use_regex: boolean): JsonObject => ({
  type: "ByteLevel",
  add_prefix_space: false,
  trim_offsets: true,
  use_regex,
});

const sequence = (first: JsonObject, usesRegex: boolean): JsonObject => ({
  type: "Sequence",
  pretokenizers: [first, byteLevel(usesRegex)],
});

const split = (pattern: string): JsonObject =>
  sequence(
    { type: "Split", pattern: { Regex: pattern }, behavior: "Isolated", invert: false },
    false,
  );

const digits: PreTokenizer = {
  preTokenizer: sequence({ type: "Digits", individual_digits: true }, true),
};
/** Words with one sign in front, numbers of so many digits, signs with line ends. */
const words = (numbers: string): string =>
  String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|${numbers}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;

/**
 * By `tokenizer.ggml.pre`.
 *
 * Source: llm_tokenizer_bpe of llama.cpp's llama-vocab.cpp, and the tokenizer.json of the models that the names are of.
 */
export const preTokenizers: ReadonlyMap<string, PreTokenizer> = new Map([
  ["gpt-2", { preTokenizer: byteLevel(true) }],
  ["smollm", digits],
  ["starcoder", digits],
  ["llama-bpe", { preTokenizer: split(words(String.raw`\p{N}{1,3}`)), ignoresMerges: true }],
  ["qwen2", { preTokenizer: split(words(String.raw`\p{N}`)), normalizer: { type: "NFC" } }],
]);
