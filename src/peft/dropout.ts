import { randomStream } from "../core/random.js";
import type { Graph } from "../graph/graph.js";
import type { Value } from "../graph/op.js";

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
      const inFeatures = x.shape[1] as number;
      const rows = g.split(keys.rows(x), [1, 1], 1);
      const columns = g.split(
        g.slice(keys.columns, { axis: 1, start: 0, end: inFeatures }),
        [1, 1],
        0,
      );
      const [first, second] = moduleKeys(path).map((key, i) =>
        g.add(rows[i] as Value, g.mul(columns[i] as Value, g.scalar(key, "int32"))),
      ) as [Value, Value];
      const keep = g.lessOrEqual(g.mul(first, second), g.scalar(keepThreshold(rate), "int32"));
      return g.where(keep, x, g.scalar(0, x.dtype));
    }),
});

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
