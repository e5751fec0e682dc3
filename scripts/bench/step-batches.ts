/** Batches that steps are measured on. */
import { UserError } from "../../src/core/errors.js";
import { permutation, randomStream } from "../../src/core/random.js";
import type { StoredBatch, StoredStep } from "../reference/batch-file.js";

/** The original pads every context to so many columns at its left, and every target at its right. */
export const originalColumns = { context: 256, target: 16 };

/** Random tokens; the last `targets` columns of each row are labelled. */
export const randomSteps = (
  {
    steps,
    batch,
    columns,
  }: { readonly steps: number; readonly batch: number; readonly columns: number },
  targets: number,
  vocabSize: number,
): StoredStep[] =>
  Array.from({ length: steps }, (_, step) => {
    const stream = randomStream(7, "bench", step);
    const rows = <T>(cell: (row: number, column: number) => T): T[][] =>
      Array.from({ length: batch }, (_unused, row) =>
        Array.from({ length: columns }, (_none, column) => cell(row, column)),
      );
    const ids = rows(() => stream.integer(vocabSize));
    const stored: StoredBatch = {
      input_ids: ids,
      attention_mask: rows(() => 1),
      labels: rows((row, column) =>
        column >= columns - targets ? (ids[row]?.[column] ?? 0) : -100,
      ),
    };
    return { step: step + 1, batches: [stored] };
  });

/** A batch of contexts left and targets right of one line, widened to the original's columns. */
export const padAsOriginal = (stored: StoredBatch, padId: number): StoredBatch => {
  const firstLabels = stored.labels.map((row) => row.findIndex((label) => label !== -100));
  const line = Math.min(...firstLabels);
  const columns = stored.labels[0]?.length ?? 0;
  const before = originalColumns.context - line;
  const after = originalColumns.target - (columns - line);
  if (before < 0 || after < 0)
    throw new UserError(
      `Cannot pad as the original does: found ${String(line)} + ${String(columns - line)} columns, expected at most 256 + 16`,
    );
  const widen = (rows: readonly (readonly number[])[], value: number) =>
    rows.map((row) => [
      ...Array.from({ length: before }, () => value),
      ...row,
      ...Array.from({ length: after }, () => value),
    ]);
  return {
    input_ids: widen(stored.input_ids, padId),
    attention_mask: widen(stored.attention_mask, 0),
    labels: widen(stored.labels, -100),
  };
};

/** A stored row without its padding: contexts left and targets right of one line. */
interface Row {
  readonly context: readonly number[];
  readonly target: readonly number[];
}

const rowsOf = ({ input_ids: ids, attention_mask: mask, labels }: StoredBatch): Row[] => {
  const line = Math.min(...labels.map((row) => row.findIndex((label) => label !== -100)));
  return ids.map((row, i) => {
    const kept = (from: number, to: number): number[] =>
      row.slice(from, to).filter((_, column) => mask[i]?.[from + column] === 1);
    return { context: kept(0, line), target: kept(line, row.length) };
  });
};

/** Rows in one batch as wide as its longest context and its longest target. */
const batchOf = (rows: readonly Row[], padId: number): StoredBatch => {
  const before = Math.max(...rows.map(({ context }) => context.length));
  const after = Math.max(...rows.map(({ target }) => target.length));
  const laid = <T>(of: (row: Row) => readonly [readonly T[], readonly T[]], fill: T): T[][] =>
    rows.map((row) => {
      const [left, right] = of(row);
      return [
        ...Array.from({ length: before - left.length }, () => fill),
        ...left,
        ...right,
        ...Array.from({ length: after - right.length }, () => fill),
      ];
    });
  const ones = (ids: readonly number[]): number[] => ids.map(() => 1);
  return {
    input_ids: laid(({ context, target }) => [context, target], padId),
    attention_mask: laid(({ context, target }) => [ones(context), ones(target)], 0),
    labels: laid(({ context, target }) => [context.map(() => -100), target], -100),
  };
};

/** The same rows in batches of any lengths, each padded to its own longest: what a trainer without grouping by length makes. */
export const shuffleRows = (steps: readonly StoredStep[], padId: number): StoredStep[] => {
  const rows = steps.flatMap(({ batches }) => batches.flatMap(rowsOf));
  const order = permutation(rows.length, 7, "bench:rows");
  let next = 0;
  return steps.map(({ step, batches }) => ({
    step,
    batches: batches.map(({ labels }) =>
      batchOf(
        labels.flatMap(() => rows[order[next++] ?? 0] ?? []),
        padId,
      ),
    ),
  }));
};
