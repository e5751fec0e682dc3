import { csvLine } from "../core/csv-line.js";
import { commonsenseNames } from "../score/commonsense.js";
import type { RunSummary } from "../runs/compare-runs.js";
import { comparisonWarnings, seedOf, type ComparedRow } from "../runs/compared-rows.js";
import type { LeftOut } from "../score/find-runs.js";
import { figuresOf, spreadOfRow, type Figure } from "./compare-figures.js";
import { rankOf } from "./compare-rows.js";

const runJson = (run: RunSummary, row: number) => ({
  /** Of `rows`, from 1. */
  row,
  folder: run.folder,
  method: run.method ?? null,
  rank: run.method === undefined ? null : (rankOf(run) ?? null),
  finished: run.finished,
  trainable: run.parameters?.trainable ?? null,
  all: run.parameters?.all ?? null,
  eval_loss: run.best?.loss ?? null,
  eval_step: run.best?.step ?? null,
  accuracy: run.accuracy?.average ?? null,
  sets: Object.fromEntries(
    commonsenseNames.flatMap((name) => {
      const score = run.accuracy?.sets[name]?.score;
      return score ? [[name, score]] : [];
    }),
  ),
  figures: Object.fromEntries(
    run.figures.map(({ set, figures }) => [
      set,
      Object.fromEntries(figures.map(({ key, value, interval }) => [key, { value, interval }])),
    ]),
  ),
  steps: run.steps ?? null,
  median_step_ms: run.medianStepMs ?? null,
  tokens_per_second: run.tokensPerSecond ?? null,
  peak_memory_bytes: run.peakMemoryBytes ?? null,
  adapter_bytes: run.adapterBytes ?? null,
  conditions: run.conditions,
});

/** A figure over a row's runs; null for what none of them has written, and for the spread of a single one. */
const figureJson = (figure: Figure, row: ComparedRow) => {
  const spread = spreadOfRow(figure, row);
  return spread && { mean: spread.mean, sd: spread.deviation ?? null, n: spread.n };
};

const rowJson = (row: ComparedRow, figures: readonly Figure[]) => ({
  name: row.name,
  n: row.runs.length,
  seeds: row.runs.map(seedOf),
  folders: row.runs.map(({ folder }) => folder),
  figures: Object.fromEntries(
    figures
      .filter(({ ofSet }) => !ofSet || row.runs.some(({ accuracy }) => accuracy))
      .map((figure) => [figure.key, figureJson(figure, row) ?? null]),
  ),
});

/** The comparison for programs: the rows with mean and spread, every single run, and null for what a run has not written. */
export const comparisonJson = (
  rows: readonly ComparedRow[],
  leftOut: readonly LeftOut[] = [],
): string => {
  const figures = figuresOf(rows);
  return JSON.stringify(
    {
      rows: rows.map((row) => rowJson(row, figures)),
      runs: rows.flatMap(({ runs }, i) => runs.map((run) => runJson(run, i + 1))),
      left_out: leftOut,
      warnings: comparisonWarnings(rows),
    },
    undefined,
    2,
  );
};

const textOf = (value: number | undefined): string => (value === undefined ? "" : String(value));

/**
 * The comparison as RFC 4180: after each row with its means and standard deviations, if it is of several runs, these runs, a
 * line each. Cells of what a run has not written are empty.
 */
export const comparisonCsv = (rows: readonly ComparedRow[]): string => {
  const figures = figuresOf(rows);
  const heading = [
    ...["row", "name", "n", "seed", "method", "rank", "finished", "folder"],
    ...figures.flatMap(({ key }) => [key, `${key}_sd`]),
  ];
  const line = (row: ComparedRow, number: number): string => {
    const [run] = row.runs;
    return csvLine([
      String(number),
      row.name,
      String(row.runs.length),
      row.runs.map(seedOf).join(" "),
      run?.method ?? "",
      (run && rankOf(run)) ?? "",
      String(row.runs.every(({ finished }) => finished)),
      row.runs.length === 1 ? (run?.folder ?? "") : "",
      ...figures.flatMap((figure) => {
        const spread = spreadOfRow(figure, row);
        return [textOf(spread?.mean), textOf(spread?.deviation)];
      }),
    ]);
  };
  const lines = rows.flatMap((row, i) => [
    line(row, i + 1),
    ...(row.runs.length > 1
      ? row.runs.map((run) => line({ name: row.name, runs: [run] }, i + 1))
      : []),
  ]);
  return csvLine(heading) + lines.join("");
};
