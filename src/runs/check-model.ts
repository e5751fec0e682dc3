import { checkDecoding, type DecodingCheck } from "../decode/device-check.js";
import { ModelEngine } from "../decode/engine.js";
import { isClassifier } from "../models/classifier.js";
import type { Model } from "../models/model.js";
import { buildAdapter, type AdapterSettings } from "../peft/build-adapter.js";
import { qloraAdapters } from "../peft/qlora.js";
import { optionGroups, type MethodOptions, type PeftType } from "../peft/registry.js";
import type { ProgressUi } from "../report/progress.js";
import type { ComputePlan } from "../runtime/compute-plan.js";
import { Tensor } from "../runtime/tensor.js";
import { withClassifier } from "../train/classifier-base.js";
import { inPlaceOfZeros, openChecked, type LossCheck } from "../train/device-check.js";
import type { BaseModel } from "../train/load-base.js";
import { valuesOnHost } from "../train/parameters.js";
import { taskOf } from "../train/tasks/registry.js";
import { DEFAULT_SEED } from "../train/training-settings.js";
import { fillStore } from "./prepare-run.js";

/** How far a device is from the CPU with a model and a fresh adapter. */
export interface ModelCheck {
  readonly training: LossCheck;
  /** Undefined for what writes no text. */
  readonly decoding: DecodingCheck | undefined;
}

/** A method as it is without any flag, on every linear layer of the blocks. */
const plainSettings = ({ linears }: Model): AdapterSettings => ({
  ...(Object.assign({}, ...optionGroups.map(({ defaults }) => defaults)) as MethodOptions),
  targetModules: [...new Set(linears.map(({ path }) => path.split(".").at(-1)))].join(),
  layers: undefined,
  modulesToSave: [],
  rankPattern: new Map(),
  qloraAdapter: qloraAdapters[0],
});

/** Columns of made-up rows, and of what is decoded. */
const columns = 64;
const padId = 0;

/** What can be trained: an encoder becomes a classifier of two classes. */
const trainable = (base: BaseModel): BaseModel =>
  base.folder.model.head || isClassifier(base.folder.model)
    ? base
    : withClassifier(base, ["0", "1"], { seed: DEFAULT_SEED, padId });

/**
 * Compares a device with the CPU on a model with a fresh adapter and made-up tokens: loss and every gradient, and of a language model the
 * likelihoods of decoding with the adapter in the graph. What is zero at the start has random numbers in its place.
 *
 * @throws {UserError} if the method does not fit the model
 */
export const checkModel = async (
  given: BaseModel,
  peftType: PeftType,
  plan: ComputePlan,
  ui: ProgressUi,
): Promise<ModelCheck> => {
  const base = trainable(given);
  const { weights, tokenizer } = base;
  const { model } = base.folder;
  const adapter = buildAdapter(peftType, model, plainSettings(model), new Set(), tokenizer);
  const start = { adapterInit: undefined, seed: DEFAULT_SEED };
  const store = await fillStore(base, adapter, start, ui, { device: plan.device });
  const maxPositions = Math.min(columns, model.maxPositionEmbeddings);
  const { session, found } = await openChecked({
    options: {
      ...{ model, adapter, maxPositions, chunks: 1 },
      ...{ gradients: true, recomputeLayers: false, drops: true },
      task: taskOf(model, padId),
    },
    ...{ weights, store, plan, seed: DEFAULT_SEED },
  });
  session.dispose();
  if (!model.head || isClassifier(model)) return { training: found, decoding: undefined };
  const values = new Map(valuesOnHost(store));
  for (const [name, moved] of inPlaceOfZeros(store, plan, DEFAULT_SEED))
    values.set(name, Tensor.fromArray("float32", values.get(name)?.shape ?? [], moved));
  const live = { adapter, values };
  const open = (asked: ComputePlan): Promise<ModelEngine> =>
    ModelEngine.create({ model, weights, live, maxPositions, plan: asked });
  const { engine, found: decoding } = await checkDecoding(open, open, plan);
  engine.dispose();
  return { training: found, decoding };
};
