import { requireLanguageModel } from "../models/classifier.js";
import { weightOf } from "../models/model.js";
import { findOnHub } from "../models/hub/find-on-hub.js";
import { openCompanions } from "../models/model-files.js";
import { loadModelFolder, type ModelFolder } from "../models/model-folder.js";
import {
  openFrozenWeights,
  type FrozenWeights,
  type PackingPlan,
} from "../models/weights/frozen-weights.js";
import type { Packing } from "../models/weights/packed-weight.js";
import type { FourBitType } from "../models/weights/quantize.js";
import { readBaseCopies } from "../peft/adapter-files.js";
import { withBaseCopies } from "../peft/base-copies.js";
import type { ProgressUi } from "../report/progress.js";
import { loadTokenizer } from "../tokenizer/load-tokenizer.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";

/** A base model ready for graphs: its folder, its frozen weights in memory, its tokenizer. */
export interface BaseModel {
  readonly folder: ModelFolder;
  /** The model as its own files have it, where an adapter's file has put tables of its own into `folder`; else `folder` itself. */
  readonly original: ModelFolder;
  readonly weights: FrozenWeights;
  readonly tokenizer: Tokenizer | undefined;
  /** Where the tokenizer's files lie: the model's folder or GGUF file, or the folder of an adapter that brings its own. */
  readonly tokenizerFolder: string;
}

/** Where a base model is, how it is held, and what it must bring. */
export interface LoadBaseOptions extends BaseStorage {
  /** Where the model of this name is; undefined: at its name, or on the Hub, see findOnHub. */
  readonly modelFolder?: string | undefined;
  /** "optional" where rows of token ids are at hand: then a folder without one will do. */
  readonly tokenizer: "required" | "optional";
  /** Whether a model without output head, an encoder or a classifier, will do. */
  readonly encoder?: "allowed" | "refused";
  /**
   * The folder of an adapter for this model. The embedding and the head in its file stand in place of the model's (see
   * withBaseCopies), and a tokenizer in it counts before the model's: trainers put there what the adapter was trained with.
   */
  readonly adapterFolder?: string;
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

/**
 * The weights that a storage quantizes; undefined where they stay floats. Embeddings, norms, biases and the head stay as they are,
 * as in bitsandbytes' and QLoRA's models.
 */
export const packingPlan = (
  { model }: ModelFolder,
  storage: BaseStorage,
): PackingPlan | undefined => {
  const packing = packingOf(storage);
  const turned = model.linears.filter(({ layout }) => layout === "in-out");
  return (
    packing && {
      packing,
      names: new Set(model.linears.map(weightOf)),
      turned: new Set(turned.map(weightOf)),
    }
  );
};

/**
 * Loads a base model, which a name on the Hub brings into its cache first; `ui` shows what comes, what its files are taken for where they
 * contradict themselves, and what an adapter brings.
 *
 * @throws {UserError} on a folder that is no model, on a missing tokenizer that is required, on values that cannot be quantized, and
 *   on an adapter's tables that do not fit
 */
export const loadBase = async (
  modelName: string,
  { tokenizer, adapterFolder, modelFolder, encoder = "refused", ...storage }: LoadBaseOptions,
  ui: Pick<ProgressUi, "decoding" | "line" | "warn">,
): Promise<BaseModel> => {
  const original = await loadModelFolder(
    modelFolder ?? (await findOnHub(modelName, { purpose: "model", ui })),
  );
  if (encoder === "refused") requireLanguageModel(original.model, original.path);
  for (const warning of original.warnings) ui.warn(warning);
  const folder =
    adapterFolder === undefined ? original : await withCopiesOf(adapterFolder, original, ui);
  const pack = packingPlan(folder, storage);
  const tokenizerFolder = await findTokenizer(original, adapterFolder, ui);
  const wanted = tokenizer === "required" || (await hasTokenizer(tokenizerFolder));
  return {
    folder,
    original,
    tokenizer: wanted ? await loadTokenizer(tokenizerFolder, { modelName }) : undefined,
    tokenizerFolder,
    weights: await openFrozenWeights(folder.weights, {
      storage: storage.loadBit === 32 ? "float32" : "stored",
      ...(pack && { pack }),
    }),
  };
};

const withCopiesOf = async (
  adapterFolder: string,
  base: ModelFolder,
  ui: Pick<ProgressUi, "line" | "warn">,
): Promise<ModelFolder> => {
  const { model, note, warnings } = await withBaseCopies(
    base,
    await readBaseCopies(adapterFolder, base.model),
  );
  if (note !== undefined) ui.line(note);
  for (const warning of warnings) ui.warn(warning);
  return model;
};

const tokenizerName = "tokenizer.json";

const hasTokenizer = async (model: string): Promise<boolean> =>
  (await (await openCompanions(model))(tokenizerName)) !== undefined;

/** The folder whose tokenizer counts; `ui` shows it where the adapter's is another one than the model's. */
const findTokenizer = async (
  { path }: ModelFolder,
  adapterFolder: string | undefined,
  ui: Pick<ProgressUi, "line">,
): Promise<string> => {
  if (adapterFolder === undefined) return path;
  const contentOf = async (model: string): Promise<Buffer | undefined> =>
    (await openCompanions(model))(tokenizerName);
  const ofAdapter = await contentOf(adapterFolder);
  if (!ofAdapter) return path;
  const ofModel = await contentOf(path);
  if (!ofModel?.equals(ofAdapter)) ui.line(`Using the tokenizer of ${adapterFolder}`);
  return adapterFolder;
};
