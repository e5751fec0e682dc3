import { access, readFile } from "node:fs/promises";
import { join } from "node:path";
import { isNotFound, messageOf, UserError } from "../core/errors.js";
import { makeTokenizer } from "./tokenizer.js";
import type { Tokenizer } from "./tokenizer.js";

/**
 * The tokenizer of a Hugging Face model folder: tokenizer.json, tokenizer_config.json and special_tokens_map.json, of
 * which the first must be there.
 *
 * `modelName` is what the user called the model (default: the folder); the pad rule looks at it, see makeTokenizer.
 * @throws {UserError} if tokenizer.json is missing, or a file is not what it should be
 */
export const loadTokenizer = async (
  modelFolder: string,
  { modelName = modelFolder }: { readonly modelName?: string } = {},
): Promise<Tokenizer> => {
  const tokenizerJson = await readIfThere(join(modelFolder, "tokenizer.json"));
  if (tokenizerJson === undefined) {
    const sentencePiece = await isThere(join(modelFolder, "tokenizer.model"));
    throw new UserError(
      `Cannot load the tokenizer of ${modelFolder}: found no tokenizer.json` +
        (sentencePiece ? " (only tokenizer.model)" : ""),
      sentencePiece
        ? "Convert it once: AutoTokenizer.from_pretrained(FOLDER, use_fast=True).save_pretrained(FOLDER) in transformers"
        : "Put the model's tokenizer.json there. Data that are token ids already (--dataset=FILE.jsonl) need none",
    );
  }
  return makeTokenizer({
    name: modelFolder,
    modelName,
    tokenizerJson,
    tokenizerConfigJson: await readIfThere(join(modelFolder, "tokenizer_config.json")),
    specialTokensMapJson: await readIfThere(join(modelFolder, "special_tokens_map.json")),
  });
};

const isThere = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

const readIfThere = async (path: string): Promise<string | undefined> => {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw new UserError(`Cannot read ${path}: ${messageOf(error)}`);
  }
};
