import {
  bytesOf,
  replaceWeights,
  widened,
  type FrozenWeights,
} from "../models/weights/frozen-weights.js";
import type { Model } from "../models/model.js";
import type { ComputePlan } from "../runtime/compute-plan.js";
import { Tensor } from "../runtime/tensor.js";
import type { LiveAdapter } from "./decode-graph.js";
import type { TellCheck } from "../train/device-check.js";
import { checkDecoding, describeDecodingCheck, requireDecoding } from "./device-check.js";
import { ModelEngine, type EngineOptions } from "./engine.js";
import { mergedBytes, mergedModel, type MergedType } from "./merge-adapter.js";

/** A base model with or without an adapter, and the memory that decoding may take. */
export interface OpenEngineOptions extends Omit<EngineOptions, "weights" | "live"> {
  readonly weights: FrozenWeights;
  readonly adapted?: LiveAdapter | undefined;
  /** Bytes that merged and widened weights may take. Default: half of what the system can give this process. */
  readonly memoryBytes?: number;
  /** Where the device is compared with the CPU first, who is told what was found; default: it is not. */
  readonly tellCheck?: TellCheck | undefined;
}

/**
 * The engine for a model with its adapter, as fast as memory allows.
 *
 * An adapter is merged into float32 weights where they fit into `memoryBytes`; else every step computes it. Then weights in
 * half precision are widened, and packed ones unpacked, once where that fits too; else every step does so. Last, the session
 * repacks its weights if a second copy fits: steps take 10 to 20 % less (SmolLM2-135M, 16 prompts, 4 beams and 1, one thread).
 * The values computed are the same, up to float32 rounding. On a device whose memory is its own, and in a precision of 16 bits, what is
 * stored in 16 bits stays so, and merged layers are rounded to them, as its products round them. In bfloat16, which would lose most of what
 * training has added to a weight, the graph computes the adapter.
 * @throws {UserError} where the device is checked, and decodes otherwise than the CPU
 */
export const openEngine = async ({
  model,
  weights,
  adapted,
  memoryBytes = process.availableMemory() / 2,
  tellCheck,
  ...options
}: OpenEngineOptions): Promise<ModelEngine> => {
  const { plan } = options;
  const ready = await readyModel({ model, weights, adapted, memoryBytes, plan });
  const all = [...ready.weights.names].reduce(
    (sum, name) => sum + bytesOf(ready.weights.typeOf(name)),
    0,
  );
  const create = (asked: ComputePlan | undefined): Promise<ModelEngine> =>
    ModelEngine.create({
      prepack: all <= memoryBytes - ready.spentBytes,
      ...options,
      ...{ model: ready.model, weights: ready.weights, live: ready.live, plan: asked },
    });
  if (!plan || !tellCheck) return create(plan);
  // The CPU computes the adapter in the graph, from the weights as they are stored: what is made ready is checked with the rest.
  const { maxPositions } = options;
  const { engine, found } = await checkDecoding(
    (cpu) => ModelEngine.create({ model, weights, live: adapted, maxPositions, plan: cpu }),
    create,
    plan,
  );
  try {
    requireDecoding(found, plan);
  } catch (error) {
    engine.dispose();
    throw error;
  }
  tellCheck(describeDecodingCheck(found));
  return engine;
};

/** What layers are merged into: where a device copies weights into its memory, what its products read. */
const mergedTypeOf = (plan: ComputePlan | undefined): MergedType => {
  if (!plan || plan.device.place === "host" || plan.precision === "fp32") return "float32";
  return plan.precision === "fp16" ? "float16" : "bfloat16";
};

/** Whether products round merged weights so far that what training has added to them is lost; see inPrecision. */
const losesUpdates = (plan: ComputePlan | undefined): boolean =>
  plan?.precision === "bf16" || plan?.precision === "mixed";

/**
 * A model with its adapter for running it many times: merged where that fits into `memoryBytes`, and its weights widened where
 * that fits too; see openEngine for what of it stays in 16 bits.
 */
export const readyModel = async ({
  model,
  weights,
  adapted,
  memoryBytes = process.availableMemory() / 2,
  plan,
}: Pick<OpenEngineOptions, "model" | "weights" | "adapted" | "memoryBytes" | "plan">): Promise<{
  readonly model: Model;
  readonly weights: FrozenWeights;
  /** The adapter, where it is not merged. */
  readonly live: LiveAdapter | undefined;
  readonly spentBytes: number;
}> => {
  const dtype = mergedTypeOf(plan);
  const bytes = adapted ? mergedBytes(adapted.adapter, dtype) : 0;
  const merges = adapted !== undefined && bytes <= memoryBytes && !losesUpdates(plan);
  const run = merges ? await mergedModel(model, weights, adapted, dtype) : { model, weights };
  const spentOnMerging = merges ? bytes : 0;
  const wide = widenWithin(run.weights, memoryBytes - spentOnMerging, dtype);
  return {
    model: run.model,
    weights: wide.weights,
    live: merges ? undefined : adapted,
    spentBytes: spentOnMerging + wide.spentBytes,
  };
};

/**
 * The weights with those in half precision and in packed codes as float32, if all of them together fit into `memoryBytes`; where layers
 * are merged into a half type, as they are.
 */
const widenWithin = (
  weights: FrozenWeights,
  memoryBytes: number,
  dtype: MergedType,
): { readonly weights: FrozenWeights; readonly spentBytes: number } => {
  if (dtype !== "float32") return { weights, spentBytes: 0 };
  const narrow = [...weights.names].filter((name) => {
    const type = weights.typeOf(name);
    return type.codec !== undefined || type.dtype === "bfloat16" || type.dtype === "float16";
  });
  const bytes = narrow.reduce(
    (sum, name) => sum + bytesOf({ dtype: "float32", shape: weights.typeOf(name).shape }),
    0,
  );
  if (bytes > memoryBytes) return { weights, spentBytes: 0 };
  const wide = narrow.map((name): [string, Tensor] => {
    const tensor = weights.tensor(name);
    return [name, Tensor.fromArray("float32", tensor.shape, widened(tensor))];
  });
  return { weights: replaceWeights(weights, new Map(wide)), spentBytes: bytes };
};
