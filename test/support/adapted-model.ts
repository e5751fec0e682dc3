import { randomStream } from "../../src/core/random.js";
import type { LiveAdapter } from "../../src/decode/decode-graph.js";
import { loadModelFolder } from "../../src/models/model-folder.js";
import {
  float32Tensors,
  openFrozenWeights,
  type FrozenWeights,
} from "../../src/models/weights/frozen-weights.js";
import type { Model } from "../../src/models/model.js";
import type { Adapter } from "../../src/peft/adapter.js";
import { LossSession } from "../../src/train/loss-session.js";
import { createParameterStore, type ParameterStore } from "../../src/train/parameters.js";
import { peftFixture } from "./adapter-base.js";

export interface TinyModel {
  readonly model: Model;
  readonly weights: FrozenWeights;
}

/** The tiny base model of the peft fixtures, or the one whose head is its embedding. */
export const loadTinyBase = async (name = "base"): Promise<TinyModel> => {
  const { model, weights } = await loadModelFolder(peftFixture(name));
  return { model, weights: await openFrozenWeights(weights, { storage: "stored" }) };
};

/** The parameters at their start. */
export const startStore = (adapter: Adapter, { weights }: TinyModel): ParameterStore =>
  createParameterStore(adapter, 1, () => undefined, { base: float32Tensors(weights) });

/** The parameters moved away from their start, so that the adapter changes the model. */
export const drawnStore = (adapter: Adapter, model: TinyModel): ParameterStore => {
  const store = startStore(adapter, model);
  for (const [name, { data }] of store.values) {
    const stream = randomStream(5, name);
    const values = data as Float32Array;
    for (const i of values.keys()) values[i] = (values[i] ?? 0) + 0.3 * stream.normal();
  }
  return store;
};

/** Logits [tokens, vocab] of one row of ids. */
export const logitsOf = async (
  { model, weights }: TinyModel,
  ids: readonly number[],
  adapted?: LiveAdapter,
): Promise<Float32Array> => {
  const store =
    adapted &&
    createParameterStore(
      adapted.adapter,
      1,
      ({ name }) => adapted.values.get(name)?.data as Float32Array | undefined,
      { base: float32Tensors(weights) },
    );
  const session = await LossSession.create(
    {
      model,
      adapter: adapted?.adapter,
      maxPositions: ids.length,
      chunks: 1,
      gradients: false,
      recomputeLayers: false,
      allLogits: true,
    },
    weights,
    store,
  );
  const { logits } = await session.run(
    {
      batch: 1,
      seq: ids.length,
      inputIds: BigInt64Array.from(ids, BigInt),
      attentionMask: new Uint8Array(ids.length).fill(1),
      labels: Int32Array.from(ids),
    },
    1,
  );
  session.dispose();
  return logits ?? new Float32Array();
};

/** The largest |a - b|. */
export const largestDifference = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  a.length === b.length
    ? Array.from(a).reduce((most, x, i) => Math.max(most, Math.abs(x - (b[i] ?? NaN))), 0)
    : NaN;
