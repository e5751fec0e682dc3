import { existsSync } from "node:fs";
import { join } from "node:path";
import { llamaLinears } from "../models/llama-config.js";
import { loadModelFolder, type ModelFolder } from "../models/model-folder.js";
import {
  openFrozenWeights,
  type FrozenWeights,
  type PackingPlan,
} from "../models/weights/frozen-weights.js";
import type { Packing } from "../models/weights/packed-weight.js";
import type { FourBitType } from "../models/weights/quantize.js";
import type { ProgressUi } from "../report/progress.js";
import { loadTokenizer } from "../tokenizer/load-tokenizer.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";

/** A base model ready for graphs: its folder, its frozen weights in memory, its tokenizer. */
export interface BaseModel {
  readonly folder: ModelFolder;
  readonly weights: FrozenWeights;
  readonly tokenizer: Tokenizer | undefined;
}

/** How the frozen weights of a base model are held; see the flags of the same names. */
export interface BaseStorage {
  /** 16 as stored, 32 float32; 8 and 4 quantize the linear layers of the blocks, and leave the rest as stored. */
  readonly loadBit: number;
  /** With 4 bits. */
  readonly quantType: FourBitType;
  readonly doubleQuant: boolean;
}

/** The packing that a storage asks for; undefined where weights stay floats. */
export const packingOf = ({
  loadBit,
  quantType,
  doubleQuant,
}: BaseStorage): Packing | undefined => {
  if (loadBit === 8) return { kind: "int8" };
  return loadBit === 4 ? { kind: "4bit", type: quantType, doubleQuant } : undefined;
};

/** Embeddings, norms, biases and the head stay as they are, as in bitsandbytes' and QLoRA's models. */
const packingPlan = ({ config }: ModelFolder, storage: BaseStorage): PackingPlan | undefined => {
  const packing = packingOf(storage);
  const names = [...llamaLinears(config).keys()].map((path) => `${path}.weight`);
  return packing && { packing, names: new Set(names) };
};

/**
 * Loads a base model; `ui` shows what its files are taken for where they contradict themselves.
 *
 * @param tokenizer "required", or "optional" where rows of token ids are at hand: then a folder without one will do
 * @throws {UserError} on a folder that is no model, on a missing tokenizer that is required, and on values that cannot be quantized
 */
export const loadBase = async (
  modelName: string,
  { tokenizer, ...storage }: BaseStorage & { readonly tokenizer: "required" | "optional" },
  ui: Pick<ProgressUi, "warn">,
): Promise<BaseModel> => {
  const folder = await loadModelFolder(modelName);
  for (const warning of folder.warnings) ui.warn(warning);
  const pack = packingPlan(folder, storage);
  const wanted = tokenizer === "required" || existsSync(join(folder.path, "tokenizer.json"));
  return {
    folder,
    tokenizer: wanted ? await loadTokenizer(folder.path, { modelName }) : undefined,
    weights: await openFrozenWeights(folder.weights, {
      storage: storage.loadBit === 32 ? "float32" : "stored",
      ...(pack && { pack }),
    }),
  };
};
