import { fft } from "../peft/fft.js";
import { dtypes, elementCount, type TypedArray } from "../core/dtype.js";
import { UserError, userErrorOfFaults } from "../core/errors.js";
import { narrowFloat32 } from "../core/half.js";
import type { LiveAdapter } from "../decode/decode-graph.js";
import { unmergeable } from "../decode/merge-adapter.js";
import { openMergedLayers } from "../decode/merged-layers.js";
import { embeddingTensor, ownHead, requireHead, weightOf } from "../models/model.js";
import { headTensors, isClassifier } from "../models/classifier.js";
import { singleName } from "../models/shards.js";
import { classifierFolder } from "../train/classifier-base.js";
import { loadModelFolder, type ModelFolder } from "../models/model-folder.js";
import { openFrozenWeights } from "../models/weights/frozen-weights.js";
import {
  readTensorAsFloat32,
  readTensorData,
  type TensorEntry,
} from "../models/weights/safetensors.js";
import { shapeText } from "../models/weights/tensor-faults.js";
import { unties } from "../peft/modules-to-save.js";
import type { ProgressUi } from "../report/progress.js";
import type { LogitSource } from "./compare-logits.js";
import { findTrained, openTrained, requireBase, type TrainedModelOptions } from "./open-trained.js";

/** A tensor of the merged model: what is written, wherever its values come from. */
export type MergedTensor = Pick<TensorEntry, "name" | "dtype" | "shape">;

/** What there is to know of a model before any weight is read. */
export interface ModelLayout extends Pick<ModelFolder, "path" | "model" | "rawConfig" | "shardOf"> {
  readonly weights: ReadonlyMap<string, MergedTensor>;
}

/** A base model and what was trained on it, whose merged tensors are made one at a time. */
export interface MergedTensors {
  /** The model that was trained on, as its own files have it. */
  readonly base: ModelFolder;
  /** The merged model: the base's config, tensors, dtypes and files, and a head and a vocabulary where the adapter has its own. */
  readonly model: ModelLayout;
  /** The folder whose tokenizer goes with it. */
  readonly tokenizerFolder: string;
  /** --peft_type of what was trained. */
  readonly method: string;
  /** The folder of the trained weights. */
  readonly folder: string;
  /** Names of the merged model's tensors whose values are not the base's. */
  readonly changed: ReadonlySet<string>;
  /** Those of the base's tensors that are held quantized: the merged model has the numbers that their codes stand for. */
  readonly unpacked: ReadonlySet<string>;
  /** A tensor of the merged model, rounded to the base's dtype. */
  read(name: string): Promise<TypedArray>;
  /** The same in float32, not rounded. */
  readWide(name: string): Promise<Float32Array>;
  /** The same tensor before training, as the base has it; zeros for rows that it lacks. */
  readBase(name: string): Promise<TypedArray>;
  /** What the merged model is to compute: the base with the adapter beside it, or what full fine-tuning has made. */
  readonly unmerged: LogitSource;
  /** Undefined where nothing but rounding can tell merged and unmerged apart. */
  readonly adapted: LiveAdapter | undefined;
  dispose(): void;
}

/** float32 elements rounded to the dtype of `tensor`. */
const roundTo = ({ dtype }: MergedTensor, wide: Float32Array): TypedArray =>
  dtype === "bfloat16" || dtype === "float16" ? narrowFloat32(wide, dtype) : wide;

const entryOf = <E extends MergedTensor>(
  { weights, path }: { readonly weights: ReadonlyMap<string, E>; readonly path: string },
  name: string,
): E => {
  const entry = weights.get(name);
  if (!entry) throw new RangeError(`Cannot merge "${name}": ${path} has no such tensor`);
  return entry;
};

/** A model whose head is tied to its embedding, with a head of its own: a copy, beside the embedding in its file. */
const withOwnHead = (folder: ModelFolder): ModelFolder => {
  const model = folder.model.untied();
  const [embedding, head] = [embeddingTensor(model), weightOf(requireHead(model))];
  return {
    ...folder,
    model,
    rawConfig: { ...folder.rawConfig, tie_word_embeddings: false },
    weights: new Map([...folder.weights, [head, { ...entryOf(folder, embedding), name: head }]]),
    shardOf: new Map([...folder.shardOf, [head, folder.shardOf.get(embedding) ?? ""]]),
  };
};

const areEqual = (a: Float32Array | undefined, b: Float32Array | undefined): boolean =>
  a !== undefined && a.length === b?.length && a.every((value, i) => value === b[i]);

/** What the base has under a name; of a head that it ties, the embedding. */
const originalOf = (original: ModelFolder, name: string): TensorEntry =>
  original.weights.get(name) ??
  entryOf(original, name === ownHead(original.model) ? embeddingTensor(original.model) : name);

/**
 * A model as it is written: in the dtypes of the base, also where an adapter's file has put tables of its own into it. A classifier's head,
 * which may be in no file of the base, has the embedding's dtype and stands beside the last tensor.
 */
const layoutOf = (model: ModelFolder, original: ModelFolder): ModelLayout => {
  const head = isClassifier(model.model) ? headTensors(model.model) : new Map<string, number[]>();
  const { dtype } = originalOf(original, embeddingTensor(original.model));
  const lastShard = [...model.shardOf.values()].at(-1) ?? singleName;
  return {
    ...model,
    weights: new Map([
      ...[...model.weights].map(([name, { shape }]): [string, MergedTensor] => [
        name,
        { name, dtype: originalOf(original, name).dtype, shape },
      ]),
      ...[...head].map(([name, shape]): [string, MergedTensor] => [
        name,
        { name, dtype: original.weights.get(name)?.dtype ?? dtype, shape },
      ]),
    ]),
    shardOf: new Map([
      ...[...head.keys()].map((name) => [name, lastShard] as const),
      ...model.shardOf,
    ]),
  };
};

/** The elements of a tensor before training in the shape that it has after it: what the base lacks is zero. */
const readOriginal = async (original: ModelFolder, tensor: MergedTensor): Promise<TypedArray> => {
  const { array, bytes } = dtypes[tensor.dtype];
  const length = elementCount(tensor.shape);
  const isNewHead =
    isClassifier(original.model) &&
    headTensors(original.model).has(tensor.name) &&
    !original.weights.has(tensor.name);
  if (isNewHead) return new array(new ArrayBuffer(length * bytes), 0, length);
  const data = await readTensorData(originalOf(original, tensor.name));
  if (data.length === length) return data;
  const resized = new array(new ArrayBuffer(length * bytes), 0, length);
  resized.set(data.subarray(0, length) as never);
  return resized;
};

/**
 * Opens what --ckpt names for merging: a run folder, a checkpoint, a peft adapter, or the model that full fine-tuning has
 * made.
 *
 * @throws {UserError} if nothing complete is there, the base model is not found, nothing was trained, or the method's
 *   parameters are no part of the weights
 */
export const openMergedTensors = async (
  options: Omit<TrainedModelOptions, "compat" | "tokenizer">,
  ui: ProgressUi,
): Promise<MergedTensors> => {
  const trained = await findTrained(options, ui);
  if (trained.holds === "plain model")
    throw new UserError(
      `Cannot merge ${options.ckpt}: found a plain model, expected a run's folder, one of its checkpoints, or a peft adapter`,
      "There is nothing to merge: the folder is a model already",
    );
  if (trained.holds === "trained model") {
    const given = await loadModelFolder(await requireBase(trained, options, ui));
    for (const warning of given.warnings) ui.warn(warning);
    const base = await asTuned(given, trained.folder);
    return openFineTuned(base, trained.folder);
  }
  const { base, adapted, folder } = await openTrained(
    {
      ...options,
      ckpt: trained.folder,
      compat: new Set(),
      tokenizer: "optional",
      encoder: "allowed",
    },
    ui,
  );
  if (!adapted) throw new RangeError(`Cannot merge ${folder}: found no adapter in it`);
  const { method, targets, parameters } = adapted.adapter;
  if (method.kind === "virtual") throw unmergeable(method);
  if (method.kind !== "linear") throw new RangeError(`Cannot merge ${method.name} as an adapter`);
  const saved = new Map(
    parameters.flatMap(({ name, saved: isSaved }) => {
      const value = isSaved && adapted.values.get(name);
      return value ? [[name, value.data as Float32Array] as const] : [];
    }),
  );
  // Where both were saved as one (peft's ensure_weight_tying), they stay tied.
  const ownHeadName = ownHead(base.folder.model);
  const staysTied = areEqual(
    saved.get(embeddingTensor(base.folder.model)),
    ownHeadName === undefined ? undefined : saved.get(ownHeadName),
  );
  const whole =
    unties(adapted.adapter, base.folder.model) && !staysTied
      ? withOwnHead(base.folder)
      : base.folder;
  const model = layoutOf(whole, base.original);
  // What stands in the adapter's file in place of the base's own.
  const copied = [...whole.weights.values()].filter(
    ({ name, file }) => originalOf(base.original, name).file !== file,
  );
  const layers = openMergedLayers(base.weights, adapted, {
    method,
    dtype: "float32",
    outputs: (g, { stored }) => {
      g.output("merged", stored);
    },
  });
  const unpacked = new Set(
    [...base.weights.names].filter((name) => base.weights.typeOf(name).codec !== undefined),
  );
  const modules = new Map(targets.map((module) => [`${module.path}.weight`, module]));
  const readWide = async (name: string): Promise<Float32Array> => {
    const trained = saved.get(name);
    if (trained) return trained.slice();
    const module = modules.get(name);
    if (!module && unpacked.has(name)) return base.weights.tensor(name).data as Float32Array;
    if (!module) return readTensorAsFloat32(entryOf(whole, name));
    const { merged } = await layers.run(module);
    if (!merged) throw new RangeError(`Cannot merge ${name}: its graph has given nothing`);
    const values = (merged.data as Float32Array).slice();
    merged.dispose();
    return values;
  };
  return {
    base: base.original,
    model,
    tokenizerFolder: base.tokenizerFolder,
    method: method.name,
    folder,
    changed: new Set(
      [...modules.keys(), ...saved.keys(), ...unpacked, ...copied.map(({ name }) => name)].filter(
        (name) => model.weights.has(name),
      ),
    ),
    unpacked,
    unmerged: { model: base.folder.model, weights: base.weights, adapted },
    adapted,
    async read(name) {
      const entry = entryOf(model, name);
      // A head that the adapter brings has no tensor in the base.
      const isChanged = saved.has(name) || modules.has(name) || unpacked.has(name);
      const source = isChanged ? undefined : entryOf(whole, name);
      return source?.dtype === entry.dtype
        ? readTensorData(source)
        : roundTo(entry, await readWide(name));
    },
    readWide,
    readBase: (name) => readOriginal(base.original, entryOf(model, name)),
    dispose: () => {
      layers.dispose();
    },
  };
};

/** The base as it was fine-tuned: with the classifier's head of the tuned model, at no values yet. */
const asTuned = async (base: ModelFolder, folder: string): Promise<ModelFolder> => {
  const { model, rawConfig } = await loadModelFolder(folder);
  if (!isClassifier(model) || isClassifier(base.model)) return base;
  const padId = rawConfig.pad_token_id;
  return classifierFolder(base, model.labels, typeof padId === "number" ? padId : undefined);
};

/** The same, of a checkpoint of full fine-tuning: a model in float32 with the base's tensors. */
const openFineTuned = async (base: ModelFolder, folder: string): Promise<MergedTensors> => {
  const { weights } = await loadModelFolder(folder);
  const model = layoutOf(base, base);
  const faults = [...weights.values()].flatMap(({ name, shape }) => {
    const found = model.weights.get(name)?.shape;
    return String(found) === String(shape)
      ? []
      : [`"${name}": found ${found ? shapeText(found) : "nothing"}, expected ${shapeText(shape)}`];
  });
  if (faults.length > 0)
    throw userErrorOfFaults(
      `Cannot merge ${folder} into ${base.path}`,
      faults,
      "Give the model that was fine-tuned with --model",
    );
  return {
    base,
    model,
    tokenizerFolder: base.path,
    method: fft.name,
    folder,
    changed: new Set(weights.keys()),
    unpacked: new Set(),
    unmerged: {
      model: base.model,
      weights: await openFrozenWeights(weights, { storage: "stored" }),
    },
    adapted: undefined,
    async read(name) {
      const tuned = weights.get(name);
      return tuned
        ? roundTo(entryOf(model, name), await readTensorAsFloat32(tuned))
        : readTensorData(entryOf(base, name));
    },
    readWide: (name) => readTensorAsFloat32(weights.get(name) ?? entryOf(base, name)),
    readBase: (name) => readOriginal(base, entryOf(model, name)),
    dispose: () => undefined,
  };
};
