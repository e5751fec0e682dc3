import type { Dim } from "../../core/dim.js";
import { randomStream } from "../../core/random.js";
import type { Graph } from "../../graph/graph.js";
import type { Value } from "../../graph/op.js";

/** The random numbers that one run of a training graph is given for all of its dropout; see drawDropoutKeys. */
export interface DropoutKeys {
  /** int32 [rows, 2], for the rows of x: those of the whole batch, or of the ones that the last layer computes. */
  rows(x: Value): Value;
  /** int32 [2, width], width being that of the widest layer's input. */
  readonly columns: Value;
}

/** What a layer does to the input of its adapter: x' = apply(x) * scale has the mean x. */
export interface Dropout {
  /** x with the dropped elements at zero. */
  apply(x: Value): Value;
  /** 1 / (1 - rate), to be multiplied where the tensors are small. */
  readonly scale: number;
}

/** Evaluation, decoding, and a rate of 0. */
export const noDropout: Dropout = { apply: (x) => x, scale: 1 };

/** Keep where the product, a number of [-2^31, 2^31), is at most this: a share of 1 - rate of all 2^32 numbers. */
export const keepThreshold = (rate: number): number =>
  Math.round((1 - rate) * 2 ** 32) - 2 ** 31 - 1;

/** The two odd numbers by which a module tells its columns from another's. */
export const moduleKeys = (path: string): readonly [number, number] => {
  const stream = randomStream(0, `dropout:${path}`);
  return [stream.bits() | 1, stream.bits() | 1];
};

/**
 * Dropout of a module's input x [rows, in]: element (r, c) stays where (R0[r] + k0 C0[c]) * (R1[r] + k1 C1[c]), in 32-bit
 * arithmetic that wraps, is at most keepThreshold(rate); R and C are the keys, k the module's.
 *
 * The mask is made in the graph from a few random numbers a row and a column, three integer operations an element, and is
 * marked cheap: backward makes the same bits again instead of keeping them. Factors with a common row or column are still
 * independent for different elements, so any two elements are dropped independently.
 * Source: Srivastava et al., "Dropout"; peft 0.21.2 and kongds/MoRA put it on the input of the adapter alone.
 */
export const moduleDropout = (
  g: Graph,
  keys: DropoutKeys,
  { path, rate }: { readonly path: string; readonly rate: number },
): Dropout => ({
  scale: 1 / (1 - rate),
  apply: (x) =>
    g.cheap(() => {
      const columns = g.slice(keys.columns, { axis: 1, start: 0, end: x.shape[1] as number });
      return dropElements(g, x, rate, {
        rows: pairOf(g.split(keys.rows(x), [1, 1], 1)),
        columns: pairOf(g.split(columns, [1, 1], 0)),
        factors: pairOf(moduleKeys(path).map((key) => g.scalar(key, "int32"))),
      });
    }),
});

/** The random numbers of the masks of attention. */
export interface AttentionDropoutKeys {
  /** int32 [batch, seq, 2], for the queries. */
  readonly queries: Value;
  /** int32 [2, width], width being at least the number of slots. */
  readonly columns: Value;
  /** int64 [slots]: 0, 1, ... */
  readonly slots: Value;
}

/**
 * Dropout of attention probabilities [batch, kvHeads, heads / kvHeads, seq, slots] by moduleDropout's rule: a query is a row, a slot
 * a column, and each head of `path` has a module's keys. Memory: nothing of the probabilities' size is kept.
 */
export const attentionDropout = (
  g: Graph,
  { queries, columns, slots }: AttentionDropoutKeys,
  { path, rate }: { readonly path: string; readonly rate: number },
): Dropout => ({
  scale: 1 / (1 - rate),
  apply: (probabilities) =>
    g.cheap(() => {
      const [batch, kvHeads, group, seq, count] = probabilities.shape as [
        ...[batch: Dim, kvHeads: number, group: number],
        ...[seq: Dim, count: Dim],
      ];
      const heads = Array.from({ length: kvHeads * group }, (_, head) =>
        moduleKeys(`${path}:head ${String(head)}`),
      );
      const factor = (which: 0 | 1): Value =>
        g.constant(
          "int32",
          [1, kvHeads, group, 1, 1],
          Int32Array.from(heads, (keys) => keys[which]),
        );
      const ofSlots = g.split(g.gather(columns, slots, { axis: 1 }), [1, 1], 0);
      return dropElements(g, probabilities, rate, {
        rows: pairOf(
          g.split(queries, [1, 1], 2).map((key) => g.reshape(key, [batch, 1, 1, seq, 1])),
        ),
        columns: pairOf(ofSlots.map((key) => g.reshape(key, [1, 1, 1, 1, count]))),
        factors: [factor(0), factor(1)],
      });
    }),
});

type Pair = readonly [Value, Value];

const pairOf = (values: readonly Value[]): Pair => values as unknown as Pair;

/** x where (R0 + k0 C0) * (R1 + k1 C1) is at most keepThreshold(rate), else 0; int32 pairs, which broadcast to x. */
const dropElements = (
  g: Graph,
  x: Value,
  rate: number,
  { rows, columns, factors }: Record<"rows" | "columns" | "factors", Pair>,
): Value => {
  const [first, second] = pairOf(
    rows.map((row, i) => g.add(row, g.mul(columns[i] as Value, factors[i] as Value))),
  );
  const keep = g.lessOrEqual(g.mul(first, second), g.scalar(keepThreshold(rate), "int32"));
  return g.where(keep, x, g.scalar(0, x.dtype));
};

/** Which masks a micro-step gets: a pure function of these, so that a resumed run draws what the whole one would have. */
export interface DropoutDraw {
  readonly seed: number;
  /** Updates done before. */
  readonly step: number;
  /** Of the update, from 0. */
  readonly microBatch: number;
}

/** The keys of one micro-step: rows int32 [rows * 2], columns int32 [2 * width]. */
export const drawDropoutKeys = (
  { seed, step, microBatch }: DropoutDraw,
  { rows, width }: { readonly rows: number; readonly width: number },
): { readonly rows: Int32Array; readonly columns: Int32Array } => {
  const draw = (purpose: string, length: number): Int32Array => {
    const stream = randomStream(seed, `dropout:${purpose}:${String(microBatch)}`, step);
    return Int32Array.from({ length }, () => stream.bits() | 0);
  };
  return { rows: draw("rows", 2 * rows), columns: draw("columns", 2 * width) };
};
