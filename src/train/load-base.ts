import { existsSync } from "node:fs";
import { join } from "node:path";
import { loadModelFolder, type ModelFolder } from "../models/model-folder.js";
import { openFrozenWeights, type FrozenWeights } from "../models/weights/frozen-weights.js";
import { loadTokenizer } from "../tokenizer/load-tokenizer.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";

/** A base model ready for graphs: its folder, its frozen weights in memory, its tokenizer. */
export interface BaseModel {
  readonly folder: ModelFolder;
  readonly weights: FrozenWeights;
  readonly tokenizer: Tokenizer | undefined;
}

/**
 * Loads a base model.
 *
 * @param tokenizer "required", or "optional" where rows of token ids are at hand: then a folder without one will do
 * @throws {UserError} on a folder that is no model, and on a missing tokenizer that is required
 */
export const loadBase = async (
  modelName: string,
  { loadBit, tokenizer }: { readonly loadBit: number; readonly tokenizer: "required" | "optional" },
): Promise<BaseModel> => {
  const folder = await loadModelFolder(modelName);
  const wanted = tokenizer === "required" || existsSync(join(folder.path, "tokenizer.json"));
  return {
    folder,
    tokenizer: wanted ? await loadTokenizer(folder.path, { modelName }) : undefined,
    weights: await openFrozenWeights(folder.weights, {
      storage: loadBit === 32 ? "float32" : "stored",
    }),
  };
};
