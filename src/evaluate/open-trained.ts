import { existsSync } from "node:fs";
import type { Compat } from "../core/compat.js";
import { UserError } from "../core/errors.js";
import type { JsonObject } from "../core/json-file.js";
import { loadModelFolder } from "../models/model-folder.js";
import { readTensorsAsFloat32 } from "../models/weights/safetensors.js";
import { llamaTensors } from "../models/llama-config.js";
import type { LiveAdapter } from "../decode/decode-graph.js";
import { createFullAdapter } from "../peft/adapter.js";
import { readAdapter, readAdapterConfig } from "../peft/adapter-files.js";
import { adapterBaseOf, adapterOfDescription } from "../peft/build-adapter.js";
import { fft } from "../peft/fft.js";
import { zeros } from "../peft/init.js";
import type { ProgressUi } from "../report/progress.js";
import { readRunFlags } from "../report/run-json.js";
import { Tensor } from "../runtime/tensor.js";
import { readCheckpoint } from "../train/checkpoint.js";
import { pickCheckpoint, resolveCheckpoint } from "../train/checkpoint-folder.js";
import { loadBase, type BaseModel, type BaseStorage } from "../train/load-base.js";

/** The storage counts where no run says otherwise, see storageOf. */
export interface TrainedModelOptions extends BaseStorage {
  /** A run folder, one checkpoint, a peft adapter, or a plain model. */
  readonly ckpt: string;
  readonly loadOrder: number;
  /** The base model; counts where the files name none, or name a folder that is gone. */
  readonly modelName: string | undefined;
  readonly compat: Compat;
  readonly tokenizer: "required" | "optional";
}

/** What was trained, on its base. */
export interface TrainedModel {
  readonly base: BaseModel;
  /** Undefined for a plain model. */
  readonly adapted: LiveAdapter | undefined;
  /** Where the base model was loaded from. */
  readonly modelName: string;
  /** The folder that the weights were read from. */
  readonly folder: string;
  /** The flags of the run that trained it; undefined for a peft adapter. */
  readonly runFlags: JsonObject | undefined;
}

const textOf = (value: unknown): string | undefined =>
  typeof value === "string" && value !== "" ? value : undefined;

/** A folder of trained weights. */
export interface TrainedFolder {
  /** An adapter, the model that full fine-tuning has made, or a plain model on which nothing was trained. */
  readonly holds: "adapter" | "trained model" | "plain model";
  readonly folder: string;
  /** The flags of the run that trained it; undefined for a peft adapter and a plain model. */
  readonly runFlags: JsonObject | undefined;
}

/**
 * Finds the weights that --ckpt means: of a run folder the best checkpoint (see pickCheckpoint), else the folder itself.
 *
 * @throws {UserError} if nothing complete is there
 */
export const findTrained = async (
  { ckpt, loadOrder }: Pick<TrainedModelOptions, "ckpt" | "loadOrder">,
  ui: ProgressUi,
): Promise<TrainedFolder> => {
  const found = await resolveCheckpoint(ckpt);
  if (found.kind === "model")
    return { holds: "plain model", folder: found.folder, runFlags: undefined };
  if (found.kind === "adapter")
    return { holds: "adapter", folder: found.folder, runFlags: undefined };
  let { folder } = found;
  const runFolder = found.kind === "run" ? found.folder : found.runFolder;
  if (found.kind === "run") {
    const { best, evalLoss, skipped } = await pickCheckpoint(found.folder, loadOrder);
    for (const { folder: skippedFolder, reason } of skipped)
      ui.warn(`${skippedFolder} is not a checkpoint: ${reason}`);
    folder = best.folder;
    ui.line(
      `Loading ${best.folder}${evalLoss === undefined ? "" : ` (score: ${String(evalLoss)})`}`,
    );
  }
  const runFlags = runFolder === undefined ? undefined : await readRunFlags(runFolder);
  const { weights } = await readCheckpoint(folder, "sizes");
  return { holds: weights === "model" ? "trained model" : "adapter", folder, runFlags };
};

/**
 * The base model's folder: the recorded one where it is still there, else the one on the command line.
 *
 * @throws {UserError} if neither is given
 */
export const baseModelOf = async (
  { holds, folder, runFlags }: TrainedFolder,
  given: string | undefined,
): Promise<string> => {
  const recorded =
    textOf(runFlags?.model_name) ??
    (holds === "adapter" ? (await readAdapterConfig(folder)).baseModel : undefined);
  if (recorded !== undefined && existsSync(recorded)) return recorded;
  const named = given ?? recorded;
  if (named !== undefined) return named;
  throw new UserError(
    `Cannot find the base model of ${folder}: found no name of it in its files, expected one`,
    "Give the base model's folder with --model",
  );
};

/**
 * How the base's weights are held: as in the run, if that quantized them, for its adapter was trained on these very numbers; else as
 * the command line says.
 */
const storageOf = (runFlags: JsonObject | undefined, given: BaseStorage): BaseStorage => {
  const { load_bit: loadBit, quant_type: quantType, double_quant: doubleQuant } = runFlags ?? {};
  if (loadBit !== 4 && loadBit !== 8) return given;
  return {
    loadBit,
    quantType: quantType === "fp4" ? "fp4" : "nf4",
    doubleQuant: doubleQuant !== false,
  };
};

/**
 * Opens what was trained: of a run folder the best checkpoint (see pickCheckpoint), one checkpoint, a peft adapter, or a plain model.
 *
 * @throws {UserError} if nothing complete is there, its base model is not found, or they do not fit
 */
export const openTrained = async (
  options: TrainedModelOptions,
  ui: ProgressUi,
): Promise<TrainedModel> => {
  const trained = await findTrained(options, ui);
  const { holds, folder, runFlags } = trained;
  if (holds === "plain model") {
    const base = await loadBase(folder, options, ui);
    return { base, adapted: undefined, modelName: folder, folder, runFlags };
  }
  if (holds === "trained model") return openFull(folder, options, runFlags, ui);
  const modelName = await baseModelOf(trained, options.modelName);
  const storage = storageOf(runFlags, options);
  const base = await loadBase(modelName, { ...options, ...storage, adapterFolder: folder }, ui);
  const { config } = base.folder;
  const { adapter: description, values } = await readAdapter(folder, adapterBaseOf(config), {
    copiesAreInBase: true,
  });
  const adapter = adapterOfDescription(description, config, options.compat);
  const tensors = [...values].map(
    ([name, { shape, data }]) => [name, Tensor.fromArray("float32", shape, data)] as const,
  );
  return { base, adapted: { adapter, values: new Map(tensors) }, modelName, folder, runFlags };
};

/** A checkpoint of full fine-tuning is a model folder of its own. */
const openFull = async (
  folder: string,
  options: TrainedModelOptions,
  runFlags: JsonObject | undefined,
  ui: ProgressUi,
): Promise<TrainedModel> => {
  const base = await loadBase(folder, options, ui);
  const shapes = llamaTensors(base.folder.config);
  const adapter = createFullAdapter(
    fft,
    {
      rank: 1,
      initA: zeros,
      initB: zeros,
      trainA: true,
      trainB: true,
      randomR: false,
      biasTwice: false,
    },
    shapes,
  );
  const { weights } = await loadModelFolder(folder);
  const values = await readTensorsAsFloat32(weights);
  const tensors = [...shapes].map(([name, shape]) => {
    const data = values.get(name);
    if (!data) throw new UserError(`Cannot load ${folder}: found no "${name}"`);
    return [name, Tensor.fromArray("float32", shape, data)] as const;
  });
  return {
    base,
    adapted: { adapter, values: new Map(tensors) },
    modelName: folder,
    folder,
    runFlags,
  };
};
