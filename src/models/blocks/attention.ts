import { multiplyDims, type Dim } from "../../core/dim.js";
import type { Graph } from "../../graph/graph.js";
import type { Value } from "../../graph/op.js";
import type { AttentionInputs } from "../model.js";
import { noDropout, type Dropout } from "./dropout.js";

/** Query heads, key and value heads (fewer under grouped-query attention), and the width of one. */
export interface HeadCounts {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
}

/** Added to the scores of columns that a row must not see. Two of them still make a finite float32. */
export const MASKED = -1e30;

/** A window, where it is shorter than what there is to see. */
export const effectiveWindow = (
  window: number | undefined,
  maxPositions: number,
): number | undefined => (window !== undefined && window < maxPositions ? window : undefined);

/** x [batch, seq, kvHeads * headDim] -> [batch, kvHeads, seq, headDim]. */
export const splitHeads = (g: Graph, x: Value, { kvHeads, headDim }: HeadCounts): Value => {
  const [batch, seq] = dimsOf(x);
  return g.transpose(g.reshape(x, [batch, seq, kvHeads, headDim]), [0, 2, 1, 3]);
};

/**
 * Attention of queries over keys and values that share heads in groups; no key or value is repeated.
 *
 * q [batch, seq, heads * headDim]; keys, values [batch, kvHeads, slots, headDim]; mask, added to the scores, broadcasts to
 * [batch, kvHeads, heads / kvHeads, seq, slots]. Returns [batch * seq, heads * headDim].
 * Source: Ainslie et al., "GQA"; "Attention Is All You Need" for the scale headDim^(-1/2).
 */
export const groupedAttention = (
  g: Graph,
  { q, keys, values, mask }: Record<"q" | "keys" | "values" | "mask", Value>,
  { heads, kvHeads, headDim }: HeadCounts,
  {
    scale = headDim ** -0.5,
    softcap,
    dropout = noDropout,
  }: Pick<AttentionInputs, "scale" | "softcap"> & {
    /** Of the probabilities [batch, kvHeads, heads / kvHeads, seq, slots]. */
    readonly dropout?: Dropout | undefined;
  } = {},
): Value => {
  const [batch, seq] = dimsOf(q);
  const group = heads / kvHeads;
  const slots = keys.shape[2] ?? 0;
  const rows = multiplyDims(group, seq);
  const grouped = g.transpose(g.reshape(q, [batch, seq, kvHeads, group, headDim]), [0, 2, 3, 1, 4]);
  const queries = g.reshape(grouped, [batch, kvHeads, rows, headDim]);
  const scores = g.matmul(queries, keys, { transB: true, alpha: scale });
  const capped = softcap === undefined ? scores : softcapped(g, scores, softcap);
  const masked = g.add(g.reshape(capped, [batch, kvHeads, group, seq, slots]), mask);
  const probabilities = dropout.apply(g.softmax(masked, { axis: -1 }));
  const context = g.matmul(g.reshape(probabilities, [batch, kvHeads, rows, slots]), values, {
    alpha: dropout.scale,
  });
  const byHead = g.reshape(context, [batch, kvHeads, group, seq, headDim]);
  return g.reshape(g.transpose(byHead, [0, 3, 1, 2, 4]), [
    multiplyDims(batch, seq),
    heads * headDim,
  ]);
};

/** cap * tanh(x / cap). Source: Gemma Team, "Gemma 2", 2024. */
export const softcapped = (g: Graph, x: Value, cap: number): Value =>
  g.mul(g.tanh(g.mul(x, g.scalar(1 / cap, x.dtype))), g.scalar(cap, x.dtype));

/**
 * The additive mask of causal attention within a batch: [batch, 1, 1, rows, seq], the rows being those of `of`, by default all of the columns.
 *
 * With a `window` a token sees that many columns back, its own included. columns int64 [seq] = 0, 1, ..., `of` int64 [rows] some of them; keyBias float [batch, seq] is 0 for real tokens, `MASKED` for padding.
 */
export const causalMask = (
  g: Graph,
  columns: Value,
  keyBias: Value,
  { window, of = columns }: { readonly window?: number | undefined; readonly of?: Value } = {},
): Value => {
  const [batch, seq] = dimsOf(keyBias);
  const rows = of.shape[0] ?? 0;
  const [keys, queries] = [g.reshape(columns, [1, seq]), g.reshape(of, [rows, 1])];
  const [zero, masked] = [g.scalar(0, keyBias.dtype), g.scalar(MASKED, keyBias.dtype)];
  const past = g.where(g.lessOrEqual(keys, queries), zero, masked);
  const causal =
    window === undefined
      ? past
      : g.where(g.lessOrEqual(queries, g.add(keys, g.scalar(window - 1, "int64"))), past, masked);
  return g.add(g.reshape(keyBias, [batch, 1, 1, 1, seq]), g.reshape(causal, [1, 1, 1, rows, seq]));
};

/** The additive mask of attention to whole rows: [batch, 1, 1, rows, seq], one of `rows` as the next. keyBias as causalMask has it. */
export const paddingMask = (
  g: Graph,
  keyBias: Value,
  { rows = 1 }: { readonly rows?: Dim } = {},
): Value => {
  const [batch, seq] = dimsOf(keyBias);
  const row = g.reshape(keyBias, [batch, 1, 1, 1, seq]);
  return rows === 1 ? row : g.expand(row, [batch, 1, 1, rows, seq]);
};

const dimsOf = (x: Value): readonly [batch: Dim, seq: Dim] => [x.shape[0] ?? 0, x.shape[1] ?? 0];
