import type { Graph } from "../graph/graph.js";
import type { Value } from "../graph/op.js";
import type { LinearModule } from "../models/model.js";
import { normal, zeros } from "./init.js";
import {
  defineLinear,
  type LinearMethod,
  type ParameterSpec,
  type ParameterValues,
} from "./method.js";
import { dropoutOptions } from "./options/dropout.js";
import { initializationOptions, type InitializationOptions } from "./options/initialization.js";
import { rankOptions, type RankOptions } from "./options/rank.js";
import { alphaOptions, stabilizationOptions, type ScaleOptions } from "./options/scale.js";

/** What A and B of one module are made by. */
export type LowRankOptions = RankOptions & InitializationOptions;

/** A [rank, in] and B [out, rank] of one module. */
export const lowRankParameters = (
  { inFeatures, outFeatures }: LinearModule,
  { rank, initA, initB, trainA, trainB }: LowRankOptions,
): Readonly<Record<"A" | "B", ParameterSpec>> => ({
  A: { shape: [rank, inFeatures], ownAxes: [0], init: initA, trainable: trainA },
  B: { shape: [outFeatures, rank], ownAxes: [1], init: initB, trainable: trainB },
});

/** scale * x A^T B^T: [rows, out]. Two products with a small side; B A is never formed. */
export const lowRankUpdate = (
  g: Graph,
  x: Value,
  { A, B }: ParameterValues,
  scale: number,
): Value =>
  g.matmul(g.matmul(x, A as Value, { transB: true }), B as Value, { transB: true, alpha: scale });

/** W0 + scale * B A: [out, in]. */
export const addedWeight = (
  g: Graph,
  weight: Value,
  { A, B }: ParameterValues,
  scale: number,
): Value => g.add(weight, g.matmul(B as Value, A as Value, { alpha: scale }));

/** The same for an embedding, A [rank, vocab] and B [hidden, rank], in the places of a linear layer's: B' = A^T, A' = B^T. */
export const transposed = (g: Graph, { A, B }: ParameterValues): Record<"A" | "B", Value> => ({
  A: g.transpose(B as Value, [1, 0]),
  B: g.transpose(A as Value, [1, 0]),
});

/** A [rank, vocab] zero, B [hidden, rank] normal: the other way round than in a linear layer, whatever --init_ab says. */
export const embeddingParameters = (
  { inFeatures, outFeatures }: LinearModule,
  { rank, trainA, trainB }: LowRankOptions,
): Readonly<Record<"A" | "B", ParameterSpec>> => ({
  A: { shape: [rank, outFeatures], ownAxes: [0], init: zeros, trainable: trainA },
  B: { shape: [inFeatures, rank], ownAxes: [1], init: normal(1), trainable: trainB },
});

/** scale * A^T[ids] B^T: [...ids.shape, hidden]. Only the rows that are asked for are computed. */
export const embeddingUpdate = (
  g: Graph,
  ids: Value,
  { A, B }: ParameterValues,
  scale: number,
): Value =>
  g.matmul(g.gather(g.transpose(A as Value, [1, 0]), ids, { axis: 0 }), B as Value, {
    transB: true,
    alpha: scale,
  });

/** LoRA's scale: alpha / rank, or alpha / sqrt(rank) where it is rank-stabilized. */
export const loraScale = ({ alpha, rank, rankStabilized }: RankOptions & ScaleOptions): number =>
  alpha / (rankStabilized ? Math.sqrt(rank) : rank);

/** The options of LoRA and its kin. */
export const loraGroups = [
  rankOptions,
  initializationOptions,
  alphaOptions,
  stabilizationOptions,
  dropoutOptions,
] as const;

/** What the flags say of LoRA. */
export type LoraOptions = LowRankOptions & ScaleOptions & (typeof dropoutOptions)["defaults"];

/** How LoRA and its kin compute, with their scale. */
export const loraFormulas = (
  scaleOf: (options: LoraOptions) => number,
): Pick<
  LinearMethod<LoraOptions>,
  "parameters" | "linear" | "lowRankScale" | "mergedWeight" | "embedding"
> => ({
  parameters: lowRankParameters,
  lowRankScale: scaleOf,
  linear: (g, x, { weight, bias }, parameters, options, dropout) =>
    g.add(
      g.linear(x, weight, bias),
      lowRankUpdate(g, dropout.apply(x), parameters, dropout.scale * scaleOf(options)),
    ),
  mergedWeight: (g, weight, parameters, options) =>
    addedWeight(g, weight, parameters, scaleOf(options)),
  embedding: {
    parameters: embeddingParameters,
    rows: (g, ids, { rows }, parameters, options) =>
      g.add(rows, embeddingUpdate(g, ids, parameters, scaleOf(options))),
    mergedWeight: (g, weight, parameters, options) =>
      addedWeight(g, weight, transposed(g, parameters), scaleOf(options)),
  },
});

/**
 * rsLoRA: LoRA with the scale alpha / sqrt(rank), under which large ranks go on learning.
 *
 * Source: Kalajdzievski, "A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA".
 */
export const rslora = defineLinear({
  kind: "linear",
  name: "rslora",
  // Its scale is what --use_rslora asks for: saying so changes nothing.
  groups: loraGroups,
  ...loraFormulas(({ alpha, rank }) => alpha / Math.sqrt(rank)),
});

/**
 * LoRA: y = x W0^T + bias + alpha / rank * x A^T B^T. A [rank, in], B [out, rank].
 *
 * B starts at zero, so an untrained adapter leaves the model as it was. No gradient of the size of W0 is formed. Dropout acts
 * on the x that A sees. On the embedding W = W0 + alpha / rank * A^T B^T, A [rank, vocab], B [hidden, rank], and nothing is dropped.
 * Source: Hu et al., "LoRA", ICLR 2022; Embedding of tuners/lora/layer.py of peft 0.21.2.
 */
export const lora = defineLinear({
  kind: "linear",
  name: "lora",
  groups: loraGroups,
  ...loraFormulas(loraScale),
  variant: ({ rankStabilized }) => (rankStabilized ? rslora : undefined),
});
