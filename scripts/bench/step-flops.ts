import { evaluateDim } from "../../src/core/dim.js";
import type { Graph } from "../../src/graph/graph.js";
import { blockSizes } from "../../src/models/blocks/attention-blocks.js";
import type { LossGraphOptions } from "../../src/train/loss-graph.js";
import { planOfBlocks } from "../../src/train/loss-graph.js";

/** The sizes of one batch. */
export interface BatchSizes {
  readonly batch: number;
  readonly seq: number;
  readonly labels: number;
}

/** What the names of a loss graph's dimensions stand for in a batch. */
export const sizesOf = (
  options: Pick<LossGraphOptions, "adapter" | "blockRows" | "chunks" | "maxPositions">,
  { batch, seq, labels }: BatchSizes,
): Readonly<Record<string, number>> => {
  const { chunks } = options;
  const chunk = (i: number): number =>
    Math.floor(((i + 1) * labels) / chunks) - Math.floor((i * labels) / chunks);
  return {
    ...{ batch, seq, labels },
    ...Object.fromEntries(Array.from({ length: chunks }, (_, i) => [`chunk${i}`, chunk(i)])),
    ...Object.fromEntries(
      blockSizes(planOfBlocks(options), seq).map((size, i) => [`block${i}`, size]),
    ),
  };
};

/** Floating-point operations of all matrix products of a graph, a multiplication and an addition each: 2 m n k. */
export const productFlops = (graph: Graph, sizes: Readonly<Record<string, number>>): number =>
  graph.nodes.reduce((sum, { op, inputs: [a], outputs: [y], attrs }) => {
    if ((op.opType !== "MatMul" && op.opType !== "FusedMatMul") || !a || !y) return sum;
    const { transA = false } = attrs as { readonly transA?: boolean };
    const inner = a.shape.at(transA ? -2 : -1) ?? 1;
    return sum + 2 * [...y.shape, inner].reduce<number>((n, dim) => n * evaluateDim(dim, sizes), 1);
  }, 0);
