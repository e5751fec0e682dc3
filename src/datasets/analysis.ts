import { listRows } from "./encode-rows.js";
import type { EncodedSet } from "./encode-rows.js";
import { planBatches } from "./plan-batches.js";
import { measurePadding } from "./build-batch.js";
import { questionOf, splits } from "./rows.js";
import type { Row, Split } from "./rows.js";

/** Token counts of the rows of one split. */
export interface LengthSummary {
  readonly mean: number;
  readonly min: number;
  readonly median: number;
  readonly p95: number;
  readonly p99: number;
  readonly max: number;
}

export interface SplitAnalysis {
  readonly split: Split;
  readonly path: string;
  readonly rows: number;
  /** BOS included where it is put in. After cutting. */
  readonly context: LengthSummary;
  /** EOS included where it is put in. After cutting. */
  readonly target: LengthSummary;
  readonly whole: LengthSummary;
  /** Numbers of the rows that a limit cuts. */
  readonly cutContexts: readonly number[];
  readonly cutTargets: readonly number[];
}

export interface DatasetAnalysis {
  readonly splits: readonly SplitAnalysis[];
  /** Numbers of the test rows whose context is also a context of train. */
  readonly testRowsInTrain: readonly number[];
  /** Numbers of the validation rows whose context is also a context of train. */
  readonly validationRowsInTrain: readonly number[];
  /** Whether validation and test have the same rows: then the best checkpoint is chosen by the test rows. */
  readonly validationIsTest: boolean;
  /** What one epoch over train computes, in columns (batch * seq summed), in three ways to pad. */
  readonly padding: {
    readonly batch: number;
    readonly tokens: number;
    readonly buckets: number;
    readonly random: number;
    /** As the original: every row to both limits. */
    readonly fixed: number;
  };
}

/** One split as analysed: its rows as text and as ids. */
export interface AnalysedSplit {
  readonly path: string;
  readonly rows: readonly Row[];
  readonly encoded: EncodedSet;
}

/**
 * Token lengths of the three splits, rows that limits cut, and rows that stand in more than one split.
 *
 * `columns` is the original's row width, context limit plus target limit; `batch` is --batch.
 */
export const analyseDataset = (
  bySplit: Readonly<Record<Split, AnalysedSplit>>,
  { batch, columns }: { readonly batch: number; readonly columns: number },
): DatasetAnalysis => {
  const { train, validation, test } = bySplit;
  const inTrainRows = new Set(train.rows.map(questionOf));
  const inTrain = ({ rows }: AnalysedSplit): number[] =>
    rows.flatMap((row, i) => (inTrainRows.has(questionOf(row)) ? [i] : []));
  const encoded = train.encoded.rows;
  const lengths = encoded.map(({ ids }) => ids.length);
  const measure = (buckets: boolean): ReturnType<typeof measurePadding> =>
    measurePadding(
      encoded,
      planBatches({ lengths, batch, order: { kind: "shuffled", seed: 42, epoch: 0, buckets } }),
      { kind: "context-target" },
    );
  const bucketed = measure(true);
  return {
    splits: splits.map((split) => {
      const { path, encoded: set } = bySplit[split];
      const summarise = (part: (row: EncodedSet["rows"][number]) => number): LengthSummary =>
        summariseLengths(set.rows.map(part));
      return {
        split,
        path,
        rows: set.rows.length,
        context: summarise(({ contextLength }) => contextLength),
        target: summarise(({ ids, contextLength }) => ids.length - contextLength),
        whole: summarise(({ ids }) => ids.length),
        cutContexts: set.cutContexts,
        cutTargets: set.cutTargets,
      };
    }),
    testRowsInTrain: inTrain(test),
    validationRowsInTrain: inTrain(validation),
    validationIsTest:
      validation.rows.length === test.rows.length &&
      validation.rows.every(
        (row, i) =>
          test.rows[i] !== undefined &&
          questionOf(row) === questionOf(test.rows[i]) &&
          row.target === test.rows[i].target,
      ),
    padding: {
      batch,
      tokens: bucketed.tokens,
      buckets: bucketed.columns,
      random: measure(false).columns,
      fixed: encoded.length * columns,
    },
  };
};

/** Mean, least, largest, and percentiles with linear interpolation between ranks (numpy's default). */
export const summariseLengths = (lengths: readonly number[]): LengthSummary => {
  const sorted = Float64Array.from(lengths).sort();
  const at = (share: number): number => {
    const rank = share * (sorted.length - 1);
    const [below, above] = [sorted[Math.floor(rank)] ?? 0, sorted[Math.ceil(rank)] ?? 0];
    return below + (above - below) * (rank - Math.floor(rank));
  };
  return {
    mean: sorted.reduce((sum, length) => sum + length, 0) / Math.max(1, sorted.length),
    min: at(0),
    median: at(0.5),
    p95: at(0.95),
    p99: at(0.99),
    max: at(1),
  };
};

/** An analysis as lines for a terminal. */
export const formatAnalysis = (name: string, analysis: DatasetAnalysis): string => {
  const header = ["", "rows", "mean", "min", "p50", "p95", "p99", "max"];
  const lines = analysis.splits.flatMap((split) => [
    [split.split, String(split.rows), "", "", "", "", "", ""],
    ...(["context", "target", "whole"] as const).map((part) => [
      `  ${part}`,
      "",
      ...(["mean", "min", "median", "p95", "p99", "max"] as const).map((figure) => {
        const value = split[part][figure];
        return Number.isInteger(value) ? String(value) : value.toFixed(1);
      }),
    ]),
  ]);
  const table = [header, ...lines].map((cells) =>
    cells.map((cell, i) => (i === 0 ? cell.padEnd(12) : cell.padStart(8))).join(""),
  );
  const { padding } = analysis;
  const per = (columns: number): string =>
    `${((100 * padding.tokens) / columns).toFixed(0)}% of ${String(columns)} columns`;
  return [
    `${name}, lengths in tokens`,
    ...table.map((line) => line.trimEnd()),
    "",
    ...analysis.splits.flatMap(({ split, cutContexts, cutTargets }) => [
      ...countLine(`${split}: contexts cut by the limit`, cutContexts),
      ...countLine(`${split}: targets cut by the limit`, cutTargets),
    ]),
    ...countLine("test: contexts that train has too", analysis.testRowsInTrain),
    ...(analysis.validationIsTest
      ? ["validation: the same rows as test, so the test rows choose the best checkpoint"]
      : countLine("validation: contexts that train has too", analysis.validationRowsInTrain)),
    `real tokens of an epoch at batch ${String(padding.batch)}: ${per(padding.buckets)} by length, ` +
      `${per(padding.random)} in random batches, ${per(padding.fixed)} padded to the limits ` +
      `(${(padding.fixed / padding.buckets).toFixed(1)} times the work)`,
  ].join("\n");
};

const countLine = (what: string, rows: readonly number[]): string[] =>
  rows.length === 0 ? [`${what}: none`] : [`${what}: ${String(rows.length)} (${listRows(rows)})`];
