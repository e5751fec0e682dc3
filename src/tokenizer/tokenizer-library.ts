import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

/**
 * What is used of the engine's `Tokenizer` class.
 *
 * Declared here because its own declarations import without file extensions, which NodeNext resolves to nothing.
 */
export interface TokenizerEngine {
  encode(text: string, options: { readonly add_special_tokens: boolean }): { ids: number[] };
  /** @throws {Error} if `ids` is empty */
  decode(
    ids: number[],
    options: {
      readonly skip_special_tokens: boolean;
      readonly clean_up_tokenization_spaces: boolean;
    },
  ): string;
  token_to_id(token: string): number | undefined;
  get_vocab(withAddedTokens: boolean): Map<string, number>;
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

/** @throws {Error} if the files describe a kind of tokenizer that the engine does not know */
export const makeEngine = (tokenizerJson: object, config: object): TokenizerEngine =>
  new engine.Tokenizer(tokenizerJson, config);

/** The engine's version: another one may give other ids, so it is part of every cache key. */
export const engineVersion = (
  JSON.parse(readFileSync(join(dirname(enginePath), "../package.json"), "utf8")) as {
    readonly version: string;
  }
).version;
