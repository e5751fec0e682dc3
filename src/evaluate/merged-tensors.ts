import type { TypedArray } from "../core/dtype.js";
import { UserError } from "../core/errors.js";
import { narrowFloat32 } from "../core/half.js";
import type { LiveAdapter } from "../decode/decode-graph.js";
import { unmergeable } from "../decode/merge-adapter.js";
import { openMergedLayers } from "../decode/merged-layers.js";
import { EMBEDDINGS, OUTPUT_HEAD } from "../models/llama-config.js";
import { loadModelFolder, type ModelFolder } from "../models/model-folder.js";
import { openFrozenWeights } from "../models/weights/frozen-weights.js";
import {
  readTensorAsFloat32,
  readTensorData,
  type TensorEntry,
} from "../models/weights/safetensors.js";
import { unties } from "../peft/modules-to-save.js";
import type { ProgressUi } from "../report/progress.js";
import type { LogitSource } from "./compare-logits.js";
import { baseModelOf, findTrained, openTrained, type TrainedModelOptions } from "./open-trained.js";

/** What there is to know of a model before any weight is read. */
export type ModelLayout = Pick<
  ModelFolder,
  "path" | "config" | "rawConfig" | "weights" | "shardOf"
>;

/** A base model and what was trained on it, whose merged tensors are made one at a time. */
export interface MergedTensors {
  /** The model that was trained on. */
  readonly base: ModelFolder;
  /** The merged model: the base's config, tensors, dtypes and files, and a head where the adapter unties it. */
  readonly model: ModelLayout;
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
  /** What the merged model is to compute: the base with the adapter beside it, or what full fine-tuning has made. */
  readonly unmerged: LogitSource;
  /** Undefined where nothing but rounding can tell merged and unmerged apart. */
  readonly adapted: LiveAdapter | undefined;
  dispose(): void;
}

/** float32 elements rounded to the dtype of `entry`. */
const roundTo = ({ dtype }: TensorEntry, wide: Float32Array): TypedArray =>
  dtype === "bfloat16" || dtype === "float16" ? narrowFloat32(wide, dtype) : wide;

const entryOf = ({ weights, path }: ModelLayout, name: string): TensorEntry => {
  const entry = weights.get(name);
  if (!entry) throw new RangeError(`Cannot merge "${name}": ${path} has no such tensor`);
  return entry;
};

/** A model whose head is tied to its embedding, with a head of its own: a copy, beside the embedding in its file. */
const withOwnHead = (folder: ModelFolder): ModelLayout => ({
  path: folder.path,
  config: { ...folder.config, tieWordEmbeddings: false },
  rawConfig: { ...folder.rawConfig, tie_word_embeddings: false },
  weights: new Map([
    ...folder.weights,
    [OUTPUT_HEAD, { ...entryOf(folder, EMBEDDINGS), name: OUTPUT_HEAD }],
  ]),
  shardOf: new Map([...folder.shardOf, [OUTPUT_HEAD, folder.shardOf.get(EMBEDDINGS) ?? ""]]),
});

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
    const base = await loadModelFolder(await baseModelOf(trained, options.modelName));
    for (const warning of base.warnings) ui.warn(warning);
    return openFineTuned(base, trained.folder);
  }
  const { base, adapted, folder } = await openTrained(
    { ...options, ckpt: trained.folder, compat: new Set(), tokenizer: "optional" },
    ui,
  );
  if (!adapted) throw new RangeError(`Cannot merge ${folder}: found no adapter in it`);
  const { method, targets, parameters } = adapted.adapter;
  if (method.kind === "virtual") throw unmergeable(method);
  if (method.kind !== "linear") throw new RangeError(`Cannot merge ${method.name} as an adapter`);
  const model = unties(adapted.adapter, base.folder.config)
    ? withOwnHead(base.folder)
    : base.folder;
  const saved = new Map(
    parameters.flatMap(({ name, saved: isSaved }) => {
      const value = isSaved && adapted.values.get(name);
      return value ? [[name, value.data as Float32Array] as const] : [];
    }),
  );
  const layers = openMergedLayers(base.weights, adapted, {
    method,
    dtype: "float32",
    outputs: (g, { merged }) => {
      g.output("merged", merged);
    },
  });
  const unpacked = new Set(
    [...base.weights.names].filter((name) => base.weights.typeOf(name).packing !== undefined),
  );
  const modules = new Map(targets.map((module) => [`${module.path}.weight`, module]));
  return {
    base: base.folder,
    model,
    method: method.name,
    folder,
    changed: new Set([...modules.keys(), ...saved.keys(), ...unpacked]),
    unpacked,
    unmerged: { config: base.folder.config, weights: base.weights, adapted },
    adapted,
    async read(name) {
      const entry = entryOf(model, name);
      const whole = saved.get(name);
      if (whole) return roundTo(entry, whole.slice());
      const module = modules.get(name);
      if (!module && unpacked.has(name))
        return roundTo(entry, base.weights.tensor(name).data as Float32Array);
      if (!module) return readTensorData(entry);
      const { merged } = await layers.run(module);
      if (!merged) throw new RangeError(`Cannot merge ${name}: its graph has given nothing`);
      const rounded = roundTo(entry, (merged.data as Float32Array).slice());
      merged.dispose();
      return rounded;
    },
    dispose: () => {
      layers.dispose();
    },
  };
};

/** The same, of a checkpoint of full fine-tuning: a model in float32 with the base's tensors. */
const openFineTuned = async (base: ModelFolder, folder: string): Promise<MergedTensors> => {
  const { weights } = await loadModelFolder(folder);
  const faults = [...weights.values()].flatMap(({ name, shape }) => {
    const found = base.weights.get(name)?.shape;
    return String(found) === String(shape)
      ? []
      : [`"${name}" [${shape.join(", ")}], found ${found ? `[${found.join(", ")}]` : "nothing"}`];
  });
  if (faults.length > 0)
    throw new UserError(
      `Cannot merge ${folder} into ${base.path}: expected ${faults.slice(0, 8).join("; ")}${faults.length > 8 ? "; ..." : ""}`,
      "Give the model that was fine-tuned with --model",
    );
  return {
    base,
    model: base,
    method: "fft",
    folder,
    changed: new Set(weights.keys()),
    unpacked: new Set(),
    unmerged: {
      config: base.config,
      weights: await openFrozenWeights(weights, { storage: "stored" }),
    },
    adapted: undefined,
    async read(name) {
      const entry = entryOf(base, name);
      const tuned = weights.get(name);
      return tuned ? roundTo(entry, await readTensorAsFloat32(tuned)) : readTensorData(entry);
    },
    dispose: () => undefined,
  };
};
