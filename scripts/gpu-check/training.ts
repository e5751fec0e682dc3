import { randomStream } from "../../src/core/random.js";
import { median } from "../../src/core/median.js";
import { noLoss } from "../../src/datasets/encoded-rows.js";
import { loadModelFolder } from "../../src/models/model-folder.js";
import { openFrozenWeights, type FrozenWeights } from "../../src/models/weights/frozen-weights.js";
import type { Model } from "../../src/models/model.js";
import { createLinearAdapter } from "../../src/peft/adapter.js";
import type { LinearMethod } from "../../src/peft/method.js";
import { peftMethods, type MethodOptions } from "../../src/peft/registry.js";
import { selectTargets } from "../../src/peft/targets.js";
import type { ComputePlan } from "../../src/runtime/compute-plan.js";
import { AdamW, clipFactor, defaultAdamW } from "../../src/train/adamw.js";
import { chunkCount, LossSession } from "../../src/train/loss-session.js";
import { clearGradients, createParameterStore } from "../../src/train/parameters.js";
import { causalLm } from "../../src/train/tasks/causal-lm.js";
import type { TokenBatch } from "../../src/train/tasks/task.js";
import { usedBytes } from "./stage.js";

/** The layers that the paper adapts. */
export const targetModules = "q_proj,k_proj,v_proj,up_proj,down_proj";

/** Random tokens, the last `labelled` of each row with a loss. The peer in Python gets the same from `ids`. */
export const randomBatch = (
  vocab: number,
  {
    batch,
    seq,
    labelled,
  }: { readonly batch: number; readonly seq: number; readonly labelled: number },
  step: number,
): TokenBatch => {
  const stream = randomStream(7, "gpu-check:tokens", step);
  const ids = Array.from({ length: batch * seq }, () => stream.integer(vocab));
  return {
    ...{ batch, seq },
    inputIds: BigInt64Array.from(ids, BigInt),
    attentionMask: new Uint8Array(batch * seq).fill(1),
    labels: Int32Array.from(ids, (id, i) => (i % seq < seq - labelled ? noLoss : id)),
  };
};

/** A model in memory. */
export interface LoadedModel {
  readonly model: Model;
  readonly weights: FrozenWeights;
}

/** A folder's model with its weights mapped. */
export const loadModel = async (folder: string): Promise<LoadedModel> => {
  const { model, weights } = await loadModelFolder(folder);
  return { model, weights: await openFrozenWeights(weights, { storage: "stored" }) };
};

/** What is trained, and on what. */
export interface TrainingCase {
  readonly method: "hira" | "lora";
  readonly rank: number;
  readonly rate: number;
  readonly checkpointing: boolean;
  readonly steps: number;
  /** By step; each step is one batch. */
  readonly batchOf: (step: number) => TokenBatch;
}

/** What a training has shown. */
export interface Trained {
  readonly losses: readonly number[];
  /** Of each step, with its numbers read back. */
  readonly milliseconds: readonly number[];
  /** Of the card, by whomever, before the session went: undefined where it is the host's. */
  readonly cardBytes: number | undefined;
}

/** Trains an adapter: forward, backward, clipping at 1 and AdamW in every step, as `hira train` does. */
export const trainSteps = async (
  { model, weights }: LoadedModel,
  plan: ComputePlan,
  { method, rank, rate, checkpointing, steps, batchOf }: TrainingCase,
): Promise<Trained> => {
  const linear: LinearMethod<MethodOptions> = peftMethods[method];
  const adapter = createLinearAdapter(
    linear,
    { rank },
    selectTargets(model.linears, targetModules),
  );
  const store = createParameterStore(adapter, 1, () => undefined, { device: plan.device });
  const first = batchOf(0);
  const session = await LossSession.create(
    {
      ...{ model, adapter },
      maxPositions: first.seq,
      chunks: chunkCount(causalLm.labelled(first).rows.length),
      gradients: true,
      recomputeLayers: checkpointing,
    },
    weights,
    store,
    plan,
  );
  const optimizer = await AdamW.create(store, defaultAdamW, plan);
  const [losses, milliseconds]: [number[], number[]] = [[], []];
  try {
    for (let step = 0; step < steps; step++) {
      const begun = performance.now();
      const batch = batchOf(step);
      const labels = causalLm.labelled(batch).rows.length;
      clearGradients(store);
      const draw = { seed: 1, step, microBatch: 0 };
      const readLoss = await session.accumulate([{ batch, lossScale: 1 / labels, draw }]);
      const norm = await optimizer.gradientNorm();
      losses.push(readLoss());
      await optimizer.update(step + 1, rate, clipFactor(norm, 1));
      milliseconds.push(performance.now() - begun);
    }
    return { losses, milliseconds, cardBytes: usedBytes(plan.device) };
  } finally {
    optimizer.dispose();
    session.dispose();
  }
};

/** The middle and the least of the steps after the first two, which warm up. */
export const timesOf = ({
  milliseconds,
}: Pick<Trained, "milliseconds">): { readonly middle: number; readonly least: number } => {
  const counted = milliseconds.slice(milliseconds.length > 4 ? 2 : 1);
  return { middle: median(counted), least: Math.min(...counted) };
};
