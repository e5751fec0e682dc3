import { listRows } from "../core/row-names.js";
import type { EncodedSet } from "./encoding.js";
import { columnsOfLimits, cutTexts, type Cutting } from "./cutting.js";
import { planBatches } from "./plan-batches.js";
import { measurePadding } from "./build-batch.js";
import { questionOf, splits } from "./rows.js";
import type { Row, Split } from "./rows.js";
import type { LengthLimits } from "./cutting.js";

/** Token counts of the rows of one split. */
export interface LengthSummary {
  readonly mean: number;
  readonly min: number;
  readonly median: number;
  readonly p90: number;
  readonly p95: number;
  readonly p99: number;
  readonly max: number;
}

/** Lengths of a split's rows in tokens, and the numbers of the rows that lose something. */
export interface SplitAnalysis {
  readonly split: Split;
  readonly path: string;
  readonly rows: number;
  /** BOS included where it is put in. Before cutting, as the other lengths. */
  readonly context: LengthSummary;
  /** EOS included where it is put in. */
  readonly target: LengthSummary;
  readonly whole: LengthSummary;
  /** Numbers of the rows that a limit cuts. */
  readonly cutContexts: readonly number[];
  readonly cutTargets: readonly number[];
  /** Numbers of the rows that have no label to learn, by an empty target or after cutting. */
  readonly unlabelled: readonly number[];
}

/** What a data set's splits hold, what the limits cut, and which contexts several splits share. */
export interface DatasetAnalysis {
  readonly splits: readonly SplitAnalysis[];
  readonly limits: LengthLimits;
  /** What of rows a limit takes. */
  readonly cutting: Cutting;
  /** Numbers of the test rows whose context is also a context of train. */
  readonly testRowsInTrain: readonly number[];
  /** Numbers of the validation rows whose context is also a context of train. */
  readonly validationRowsInTrain: readonly number[];
  /** Whether validation and test have the same rows: a run that has checkpoints to choose from then chooses by the test rows. */
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
 * Token lengths of the three splits before cutting, rows that limits cut, and rows that stand in more than one split.
 *
 * `batch` is --batch. What padding costs is counted after cutting.
 */
export const analyseDataset = (
  bySplit: Readonly<Record<Split, AnalysedSplit>>,
  {
    batch,
    limits,
    cutting = "ours",
  }: {
    readonly batch: number;
    readonly limits: LengthLimits;
    readonly cutting?: Cutting;
  },
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
      const summarise = (part: (row: LengthLimits) => number): LengthSummary =>
        summariseLengths(set.wholeLengths.map(part));
      return {
        split,
        path,
        rows: set.rows.length,
        context: summarise(({ context }) => context),
        target: summarise(({ target }) => target),
        whole: summarise(({ context, target }) => context + target),
        cutContexts: set.cutContexts,
        cutTargets: set.cutTargets,
        unlabelled: set.unlabelled,
      };
    }),
    limits,
    cutting,
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
      fixed: encoded.length * columnsOfLimits(limits, cutting),
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
    p90: at(0.9),
    p95: at(0.95),
    p99: at(0.99),
    max: at(1),
  };
};

/** A line a split with its rows, and below it, where they are known, a line each for context, target and both. */
export const lengthTable = (
  all: readonly {
    readonly split: Split;
    readonly rows: number;
    readonly lengths?: Readonly<Record<"context" | "target" | "whole", LengthSummary>>;
  }[],
): readonly string[] => {
  const header = ["", "rows", "mean", "min", "p50", "p90", "p95", "p99", "max"];
  const lines = all.flatMap(({ split, rows, lengths }) => [
    [split, String(rows)],
    ...(lengths === undefined ? [] : (["context", "target", "whole"] as const)).map((part) => [
      `  ${part}`,
      "",
      ...(["mean", "min", "median", "p90", "p95", "p99", "max"] as const).map((figure) => {
        const value = lengths?.[part][figure] ?? NaN;
        return Number.isInteger(value) ? String(value) : value.toFixed(1);
      }),
    ]),
  ]);
  const known = all.some(({ lengths }) => lengths !== undefined);
  return [known ? header : header.slice(0, 2), ...lines].map((cells) =>
    cells
      .map((cell, i) => (i === 0 ? cell.padEnd(12) : cell.padStart(8)))
      .join("")
      .trimEnd(),
  );
};

/** An analysis as lines for a terminal. @param name of the data set */
export const formatAnalysis = (name: string, analysis: DatasetAnalysis): string => {
  const { contexts, targets } = cutTexts(analysis.limits, analysis.cutting);
  return [
    `${name}, lengths in tokens before cutting; rows are counted from 1`,
    ...lengthTable(
      analysis.splits.map(({ split, rows, context, target, whole }) => ({
        split,
        rows,
        lengths: { context, target, whole },
      })),
    ),
    "",
    ...analysis.splits.flatMap(({ split, rows, cutContexts, cutTargets, unlabelled }) => [
      ...countLines(split, contexts, { found: cutContexts, rows }),
      ...countLines(split, targets, { found: cutTargets, rows }),
      ...countLines(split, "rows without a label: training would refuse them", {
        found: unlabelled,
        rows,
      }),
    ]),
    ...countLines("test", "contexts that train has too", {
      found: analysis.testRowsInTrain,
      rows: rowsOf(analysis, "test"),
    }),
    ...(analysis.validationIsTest
      ? ["validation: the same rows as test, which would choose among a run's checkpoints"]
      : countLines("validation", "contexts that train has too", {
          found: analysis.validationRowsInTrain,
          rows: rowsOf(analysis, "validation"),
        })),
    ...paddingLines(analysis.padding),
  ].join("\n");
};

const rowsOf = ({ splits: all }: DatasetAnalysis, name: Split): number =>
  all.find(({ split }) => split === name)?.rows ?? 0;

/** How many rows, their share, and below it the first of them. */
const countLines = (
  split: Split,
  what: string,
  { found, rows }: { readonly found: readonly number[]; readonly rows: number },
): readonly string[] => {
  if (found.length === 0) return [`${split}: no ${what.replace(/,.*|:.*/, "")}`];
  const percent = `${((100 * found.length) / rows).toFixed(1)}%`;
  return [`${split}: ${String(found.length)} (${percent}) ${what}`, `  ${listRows(found)}`];
};

/** The share of real tokens in what an epoch over train computes, a line a way to pad. */
export const paddingLines = ({
  batch,
  tokens,
  buckets,
  random,
  fixed,
}: Omit<DatasetAnalysis["padding"], "fixed"> & {
  readonly fixed?: number;
}): readonly string[] => {
  const line = (way: string, columns: number): string =>
    `  ${way.padEnd(22)}${((100 * tokens) / columns).toFixed(0).padStart(3)}% of ${String(columns)} columns`;
  return [
    `real tokens in what an epoch computes at batch ${String(batch)}`,
    line("by length", buckets),
    line("in random batches", random),
    ...(fixed === undefined
      ? []
      : [`${line("padded to the limits", fixed)}, ${(fixed / buckets).toFixed(1)} times the work`]),
  ];
};
