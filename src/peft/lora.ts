import type { Graph } from "../graph/graph.js";
import type { Value } from "../graph/op.js";
import type { LinearModule } from "../models/model.js";
import { normal, zeros } from "./init.js";
import type {
  LinearMethod,
  MethodOptions,
  MethodReads,
  ParameterSpec,
  ParameterValues,
} from "./method.js";

/** A [rank, in] and B [out, rank] of one module. */
export const lowRankParameters = (
  { inFeatures, outFeatures }: LinearModule,
  { rank, initA, initB, trainA, trainB }: MethodOptions,
): Readonly<Record<"A" | "B", ParameterSpec>> => ({
  A: { shape: [rank, inFeatures], init: initA, trainable: trainA },
  B: { shape: [outFeatures, rank], init: initB, trainable: trainB },
});

/** What A and B of one module read. */
export const lowRankReads = {
  rank: true,
  initA: true,
  initB: true,
  trainA: true,
  trainB: true,
} as const satisfies MethodReads;

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
  { rank, trainA, trainB }: MethodOptions,
): Readonly<Record<"A" | "B", ParameterSpec>> => ({
  A: { shape: [rank, outFeatures], init: zeros, trainable: trainA },
  B: { shape: [inFeatures, rank], init: normal(1), trainable: trainB },
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
export const loraScale = ({ alpha, rank, rankStabilized }: MethodOptions): number =>
  alpha / (rankStabilized ? Math.sqrt(rank) : rank);

const loraMethod = (name: string, scaleOf: (options: MethodOptions) => number): LinearMethod => ({
  kind: "linear",
  name,
  // Of rsLoRA buildAdapter reads the third, which says there what the method says already.
  reads: { ...lowRankReads, alpha: true, rankStabilized: true, dropout: true },
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
 * LoRA: y = x W0^T + bias + alpha / rank * x A^T B^T. A [rank, in], B [out, rank].
 *
 * B starts at zero, so an untrained adapter leaves the model as it was. No gradient of the size of W0 is formed. Dropout acts
 * on the x that A sees. On the embedding W = W0 + alpha / rank * A^T B^T, A [rank, vocab], B [hidden, rank], and nothing is dropped.
 * Source: Hu et al., "LoRA", ICLR 2022; Embedding of tuners/lora/layer.py of peft 0.21.2.
 */
export const lora = loraMethod("lora", loraScale);

/**
 * rsLoRA: LoRA with the scale alpha / sqrt(rank), under which large ranks go on learning.
 *
 * Source: Kalajdzievski, "A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA".
 */
export const rslora = loraMethod("rslora", ({ alpha, rank }) => alpha / Math.sqrt(rank));
