import type { Compat } from "../core/compat.js";
import { UserError, userErrorOfFaults } from "../core/errors.js";
import { quoteJson, type JsonObject } from "../core/json-file.js";
import { findOnHub } from "../models/hub/find-on-hub.js";
import { isClassifier, requireLanguageModel } from "../models/classifier.js";
import { loadModelFolder } from "../models/model-folder.js";
import { readTensorsAsFloat32 } from "../models/weights/safetensors.js";
import type { LiveAdapter } from "../decode/decode-graph.js";
import { createFullAdapter } from "../peft/adapter.js";
import { readAdapter, readAdapterConfig } from "../peft/adapter-files.js";
import { adapterBaseOf, adapterOfDescription } from "../peft/build-adapter.js";
import { fft } from "../peft/fft.js";
import type { LinearMethod, PeftMethod } from "../peft/method.js";
import type { ProgressUi } from "../report/progress.js";
import { readRunFlags } from "../report/run-json.js";
import { Tensor } from "../runtime/tensor.js";
import { readCheckpoint } from "../train/checkpoint.js";
import { pickCheckpoint, resolveCheckpoint } from "../train/checkpoint-folder.js";
import { readLabels, withClassifier } from "../train/classifier-base.js";
import { DEFAULT_SEED } from "../train/training-settings.js";
import { loadBase, type BaseModel, type BaseStorage } from "../train/load-base.js";
import { findBase, isSameModel, type TrainedFolder } from "./find-base.js";
import {
  adapterFlagFaults,
  flagsWithoutEffect,
  runFlagFaults,
  type GivenFlags,
} from "./recorded-flags.js";

/** The storage counts where no run says otherwise, see storageOf. */
export interface TrainedModelOptions extends BaseStorage {
  /** A run folder, one checkpoint, a peft adapter, or a plain model; the last two may be on the Hub. */
  readonly ckpt: string;
  readonly loadOrder: number;
  /** The base model that somebody has named; see findBase. */
  readonly modelName: string | undefined;
  /** Other flags that somebody wrote: what was trained must not contradict them. */
  readonly givenFlags?: GivenFlags;
  /** Those of them that have to have an effect. */
  readonly typed?: ReadonlySet<string>;
  readonly compat: Compat;
  readonly tokenizer: "required" | "optional";
  /** Where an adapter is to train on: options that only training reads, in place of those that its files say. */
  readonly training?: (method: LinearMethod) => object;
  /** Whether what writes no text, an encoder or a classifier, will do. Default: refused. */
  readonly encoder?: "allowed" | "refused";
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
  /** How the base's weights are held. */
  readonly storage: BaseStorage;
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
  const found = await resolveCheckpoint(await findOnHub(ckpt, { purpose: "trained", ui }));
  if (found.kind === "model") return { holds: "plain model", folder: found.folder, run: undefined };
  if (found.kind === "adapter") return { holds: "adapter", folder: found.folder, run: undefined };
  let { folder } = found;
  const runFolder = found.kind === "run" ? found.folder : found.runFolder;
  if (found.kind === "run") {
    const { best, metric, skipped } = await pickCheckpoint(found.folder, loadOrder);
    for (const { folder: skippedFolder, reason } of skipped)
      ui.warn(`${skippedFolder} is not a checkpoint: ${reason}`);
    folder = best.folder;
    ui.line(`Loading ${best.folder}${metric === undefined ? "" : ` (score: ${String(metric)})`}`);
  }
  const run =
    runFolder === undefined
      ? undefined
      : { folder: runFolder, flags: await readRunFlags(runFolder) };
  const { weights } = await readCheckpoint(folder, "sizes");
  return { holds: weights === "model" ? "trained model" : "adapter", folder, run };
};

const contradiction = (
  { run, folder }: TrainedFolder,
  faults: readonly string[],
  hint = "Leave these flags out: what was trained brings them with it",
): UserError =>
  userErrorOfFaults(`Cannot load ${run?.folder ?? folder} as it was trained`, faults, hint);

const flagFaults = (
  { run }: TrainedFolder,
  { givenFlags = {} }: Pick<TrainedModelOptions, "givenFlags">,
): readonly string[] => (run ? runFlagFaults(run.flags, givenFlags) : []);

/**
 * The base model's folder, see findBase.
 *
 * @throws {UserError} if there is none, or if it or one of the flags that somebody wrote contradicts the run
 */
export const requireBase = async (
  trained: TrainedFolder,
  options: Pick<TrainedModelOptions, "modelName" | "givenFlags">,
  ui: ProgressUi,
): Promise<string> => {
  const found = await findBase(trained, options.modelName, ui);
  const faults = [...flagFaults(trained, options)];
  if ("path" in found) {
    if (faults.length > 0) throw contradiction(trained, faults);
    return found.path;
  }
  const isGiven = options.modelName !== undefined;
  throw contradiction(
    trained,
    [...faults, `${isGiven ? "--model_name" : "base model"}: ${found.fault}`],
    `${isGiven ? "Leave out --model, or give" : "Give with --model"} the model that it was trained on. An adapter that is copied out of its run's folder takes every base that its shapes fit`,
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

const onlyStorage = ({ loadBit, quantType, doubleQuant }: BaseStorage): BaseStorage => ({
  ...{ loadBit, quantType, doubleQuant },
});

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
  const { holds, folder, run } = trained;
  const runFlags = run?.flags;
  if (holds === "plain model") {
    await requirePlain(folder, options, ui);
    tellUnread(undefined, options, ui);
    const base = await loadBase(folder, options, ui);
    return {
      ...{ base, adapted: undefined, modelName: folder, folder, runFlags },
      storage: onlyStorage(options),
    };
  }
  if (holds === "trained model") {
    const faults = flagFaults(trained, options);
    if (options.modelName !== undefined) await requireBase(trained, options, ui);
    else if (faults.length > 0) throw contradiction(trained, faults);
    tellUnread(fft, options, ui);
    return openFull(folder, options, runFlags, ui);
  }
  const modelName = await requireBase(trained, options, ui);
  const storage = storageOf(runFlags, options);
  const bare = await loadBase(
    modelName,
    { ...options, ...storage, adapterFolder: folder, encoder: "allowed" },
    ui,
  );
  const base = await asTrained(bare, folder);
  if (options.encoder !== "allowed") requireLanguageModel(base.folder.model, folder);
  const { model } = base.folder;
  const { adapter: description, values } = await readAdapter(folder, adapterBaseOf(model), {
    copiesAreInBase: true,
  });
  const faults = run ? [] : adapterFlagFaults(description, options.givenFlags ?? {});
  if (faults.length > 0) throw contradiction(trained, faults);
  const adapter = adapterOfDescription(description, model, options.compat, options.training);
  tellUnread(adapter.method, options, ui);
  const tensors = [...values].map(
    ([name, { shape, data }]) => [name, Tensor.fromArray("float32", shape, data)] as const,
  );
  return {
    ...{ base, adapted: { adapter, values: new Map(tensors) }, modelName, folder, runFlags },
    storage: onlyStorage(storage),
  };
};

/** The base as the adapter was trained on it: a classifier where it says so. @throws {UserError} without a head in the adapter */
const asTrained = async (base: BaseModel, folder: string): Promise<BaseModel> => {
  const { config } = await readAdapterConfig(folder);
  if (config.task_type !== "SEQ_CLS" || isClassifier(base.folder.model)) return base;
  const labels = await readLabels(folder, base.folder.model);
  return withClassifier(base, labels, { seed: DEFAULT_SEED, padId: base.tokenizer?.padId });
};

/** Names the flags that set what the loaded method does not have. */
const tellUnread = (
  method: PeftMethod | undefined,
  { typed = new Set() }: Pick<TrainedModelOptions, "typed">,
  ui: ProgressUi,
): void => {
  const unread = flagsWithoutEffect(method, typed).map((name) => `--${name}`);
  if (unread.length > 0)
    ui.warn(
      `Without effect here: ${unread.join(", ")} (${method ? `what is loaded was trained with ${method.name}` : "what is loaded is a plain model"})`,
    );
};

/** Nothing was trained on a plain model: another model beside it, or a method, would be without effect. */
const requirePlain = async (
  folder: string,
  { modelName, givenFlags = {} }: Pick<TrainedModelOptions, "modelName" | "givenFlags">,
  ui: ProgressUi,
): Promise<void> => {
  const other = modelName && (await findOnHub(modelName, { purpose: "model", ui }));
  if (modelName !== undefined && !(await isSameModel(other ?? modelName, folder)))
    throw new UserError(
      `Cannot load ${folder} on ${modelName}: found a plain model, expected an adapter or a run`,
      "Leave --model out, or give the folder of what was trained as --ckpt",
    );
  if (givenFlags.peft_type !== undefined)
    ui.warn(
      `--peft_type ${quoteJson(givenFlags.peft_type)} is without effect: ${folder} is a plain model, on which nothing was trained`,
    );
};

/** A checkpoint of full fine-tuning is a model folder of its own. */
const openFull = async (
  folder: string,
  options: TrainedModelOptions,
  runFlags: JsonObject | undefined,
  ui: ProgressUi,
): Promise<TrainedModel> => {
  const base = await loadBase(folder, options, ui);
  const shapes = base.folder.model.tensors;
  const adapter = createFullAdapter(fft, shapes);
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
    storage: onlyStorage(options),
  };
};
