import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import type { EngineDecoder } from "./exact-decoder.js";

/**
 * What is used of the engine's `Tokenizer` class: its parts, which do the work between added tokens.
 *
 * Declared here because its own declarations import without file extensions, which NodeNext resolves to nothing.
 */
export interface TokenizerEngine {
  readonly normalizer: ((text: string) => string) | null;
  /** `section_index` 0 says that the whole text begins with this part. */
  readonly pre_tokenizer:
    ((text: string, options: { readonly section_index: number }) => readonly string[]) | null;
  /** From pre-tokens to tokens, by their texts. */
  readonly model: ((preTokens: readonly string[]) => readonly string[]) & {
    readonly tokens_to_ids: ReadonlyMap<string, number>;
    /** By id; with holes where ids are left out. */
    readonly vocab: readonly (string | undefined)[];
    readonly unk_token_id: number | undefined;
  };
  readonly decoder: EngineDecoder | null;
}

/**
 * The tokenizer engine of `@xenova/transformers`, without the rest of that package.
 *
 * Importing the package itself takes 180 to 250 ms and 40 MB, because it also loads sharp and a second binding to
 * ONNX Runtime; its engine alone takes 5 ms (Node 20, 2-core Xeon) and gives the same ids. It is looked up from the
 * package's own folder, so it is always a version that the package was made for.
 */
const packageRequire = createRequire(
  createRequire(import.meta.url).resolve("@xenova/transformers"),
);
const enginePath = packageRequire.resolve("@huggingface/tokenizers");
const engine = packageRequire(enginePath) as {
  /** @throws {Error} if the files describe a kind of tokenizer that the engine does not know */
  readonly Tokenizer: new (tokenizerJson: object, config: object) => TokenizerEngine;
};

/** A pre-tokenizer of the engine, as far as it is mended. */
interface EnginePreTokenizer {
  readonly config?: { readonly type?: unknown };
  /** Of a sequence. */
  readonly tokenizers?: readonly EnginePreTokenizer[];
  pattern?: RegExp;
}

/**
 * GPT-2's pattern with Unicode's white space: JavaScript's \s has U+FEFF, and not U+0085.
 *
 * Source: tokenizers 0.23, pre_tokenizers/byte_level.rs.
 */
const byteLevelPattern =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

const mendByteLevel = (preTokenizer: EnginePreTokenizer): void => {
  for (const part of preTokenizer.tokenizers ?? []) mendByteLevel(part);
  if (preTokenizer.config?.type === "ByteLevel") preTokenizer.pattern = byteLevelPattern;
};

/** @throws {Error} if the files describe a kind of tokenizer that the engine does not know */
export const makeEngine = (tokenizerJson: object, config: object): TokenizerEngine => {
  const made = new engine.Tokenizer(tokenizerJson, config);
  if (made.pre_tokenizer) mendByteLevel(made.pre_tokenizer as EnginePreTokenizer);
  return made;
};

/** The engine's version: another one may give other ids, so it is part of every cache key. */
export const engineVersion = (
  JSON.parse(readFileSync(join(dirname(enginePath), "../package.json"), "utf8")) as {
    readonly version: string;
  }
).version;
