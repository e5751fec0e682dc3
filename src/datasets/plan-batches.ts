import { permutation } from "../core/random.js";

/** In which order rows are seen. */
export type BatchOrder =
  /** As in the file. */
  | { readonly kind: "file" }
  /** Longest first, for evaluation: no padding to speak of, and whatever does not fit fails at once. */
  | { readonly kind: "length" }
  /** A new random order every epoch, decided by (seed, epoch) alone. */
  | {
      readonly kind: "shuffled";
      readonly seed: number;
      readonly epoch: number;
      /** Rows of like length share a batch. False: a plain random permutation, as the original's. */
      readonly buckets: boolean;
    };

/** The rows' lengths, and how they are gathered into batches. */
export interface BatchPlanOptions {
  /** Of every row, in tokens. */
  readonly lengths: ArrayLike<number>;
  /** Rows a batch. */
  readonly batch: number;
  readonly order: BatchOrder;
}

/** Batches whose rows are sorted by length together. More pad less, fewer mix better. */
const batchesAGroup = 50;

/**
 * Which rows make up which batch: indices into `lengths`, every one exactly once; the last short batch is kept.
 *
 * Buckets: the rows in random order are taken in groups of 50 batches; each group is sorted by length and cut into
 * batches, and then the batches are shuffled. So a batch pads little, and no row is bound to a place in the epoch.
 */
export const planBatches = ({ lengths, batch, order }: BatchPlanOptions): Uint32Array[] => {
  if (!Number.isInteger(batch) || batch < 1)
    throw new RangeError(`found batch ${String(batch)}, expected a whole number above 0`);
  const count = lengths.length;
  const byLength = (a: number, b: number): number => (lengths[b] ?? 0) - (lengths[a] ?? 0);
  if (order.kind !== "shuffled") {
    const rows = Uint32Array.from({ length: count }, (_, i) => i);
    // The sort is stable: rows of one length stay in the file's order.
    return cut(order.kind === "length" ? rows.sort(byLength) : rows, batch);
  }
  const { seed, epoch } = order;
  const rows = permutation(count, seed, "rows", epoch);
  if (!order.buckets) return cut(rows, batch);
  for (const group of cut(rows, batch * batchesAGroup)) group.sort(byLength);
  const batches = cut(rows, batch);
  const shuffled: Uint32Array[] = [];
  for (const i of permutation(batches.length, seed, "batches", epoch)) {
    const rowsOfBatch = batches[i];
    if (rowsOfBatch !== undefined) shuffled.push(rowsOfBatch);
  }
  return shuffled;
};

/** Views of `rows` of `size` entries each, the last one shorter where it does not come out even. */
const cut = (rows: Uint32Array, size: number): Uint32Array[] =>
  Array.from({ length: Math.ceil(rows.length / size) }, (_, i) =>
    rows.subarray(i * size, (i + 1) * size),
  );
