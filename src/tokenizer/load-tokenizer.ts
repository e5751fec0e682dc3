import { access } from "node:fs/promises";
import { join } from "node:path";
import { messageOf, UserError } from "../core/errors.js";
import { openCompanions } from "../models/model-files.js";
import { makeTokenizer } from "./tokenizer.js";
import type { Tokenizer } from "./tokenizer.js";

/**
 * The tokenizer of a Hugging Face model folder: tokenizer.json, tokenizer_config.json and special_tokens_map.json, of
 * which the first must be there. Of a GGUF file, what its metadata make of them.
 *
 * `modelName` is what the user called the model (default: the folder); the pad rule looks at it, see makeTokenizer.
 * @throws {UserError} if tokenizer.json is missing, or a file is not what it should be
 */
export const loadTokenizer = async (
  modelFolder: string,
  { modelName = modelFolder }: { readonly modelName?: string } = {},
): Promise<Tokenizer> => {
  const read = await openFiles(modelFolder);
  const tokenizerJson = await read("tokenizer.json");
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
    tokenizerConfigJson: await read("tokenizer_config.json"),
    specialTokensMapJson: await read("special_tokens_map.json"),
  });
};

const isThere = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

/** The texts of a model's files by their names. */
const openFiles = async (model: string): Promise<(name: string) => Promise<string | undefined>> => {
  const read = await openCompanions(model);
  return async (name) => {
    try {
      return (await read(name))?.toString("utf8");
    } catch (error) {
      throw new UserError(`Cannot read ${join(model, name)}: ${messageOf(error)}`);
    }
  };
};
