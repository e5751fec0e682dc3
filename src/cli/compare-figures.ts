import type { RunSummary } from "../runs/compare-runs.js";
import { spreadOf, type ComparedRow, type Spread } from "../runs/compared-rows.js";
import { commonsenseNames, commonsenseSets } from "../score/commonsense.js";

/** A number that a comparison shows of every run. */
export interface Figure {
  /** Its name for programs. */
  readonly key: string;
  readonly heading: string;
  readonly value: (run: RunSummary) => number | undefined;
  /** The number as text, in the unit that suits `scale`, a number of its kind. */
  readonly show: (value: number, scale: number) => string;
  /** Behind both numbers of a mean and its spread. */
  readonly unit?: (scale: number) => string;
  /** Whether it is a result, whose spread over seeds counts even where it is 0. */
  readonly isResult?: true;
  /** Shown with --per_set alone. */
  readonly ofSet?: true;
}

const grouped = (value: number): string => Math.round(value).toLocaleString("en-US");
const percent = (value: number): string => value.toFixed(2);
const mebi = 2 ** 20;

/** KiB of what would hardly show in MiB. */
const inKibi = (bytes: number): boolean => bytes < 0.1 * mebi;
const showBytes = (bytes: number, scale: number): string => {
  if (inKibi(scale)) return (bytes / 1024).toFixed(1);
  return (bytes / mebi).toFixed(scale < 100 * mebi ? 2 : 0);
};
const bytes = {
  show: showBytes,
  unit: (scale: number): string => (inKibi(scale) ? " KiB" : " MiB"),
};

/** The figures in the order of the columns. */
const figures: readonly Figure[] = [
  {
    key: "trainable",
    heading: "trainable",
    value: ({ parameters }) => parameters?.trainable,
    show: grouped,
  },
  {
    key: "trainable_percent",
    heading: "%",
    value: ({ parameters }) => parameters && (100 * parameters.trainable) / parameters.all,
    show: (value) => value.toFixed(3),
  },
  {
    key: "eval_loss",
    heading: "val. loss",
    value: ({ best }) => best?.loss,
    show: (value) => value.toFixed(4),
    isResult: true,
  },
  ...commonsenseNames.map((name): Figure => ({
    key: name,
    heading: commonsenseSets[name].title,
    value: ({ accuracy }) => accuracy?.sets[name]?.score.accuracy,
    show: percent,
    isResult: true,
    ofSet: true,
  })),
  {
    key: "accuracy",
    heading: "accuracy",
    value: ({ accuracy }) => accuracy?.average.accuracy,
    show: percent,
    isResult: true,
  },
  {
    key: "median_step_ms",
    heading: "step",
    value: ({ medianStepMs }) => medianStepMs,
    show: grouped,
    unit: () => " ms",
  },
  {
    key: "tokens_per_second",
    heading: "tokens/s",
    value: ({ tokensPerSecond }) => tokensPerSecond,
    show: grouped,
  },
  {
    key: "peak_memory_bytes",
    heading: "peak memory",
    value: ({ peakMemoryBytes }) => peakMemoryBytes,
    ...bytes,
  },
  {
    key: "adapter_bytes",
    heading: "adapter",
    value: ({ adapterBytes }) => adapterBytes,
    ...bytes,
  },
];

/** The main figures of the answers to other sets, in the order in which the runs first have them; named with their sets where these are several. */
const setFigures = (rows: readonly ComparedRow[]): readonly Figure[] => {
  const all = rows.flatMap(({ runs }) => runs.flatMap((run) => run.figures));
  const severalSets = new Set(all.map(({ set }) => set)).size > 1;
  const found = new Map<string, Figure>();
  for (const { set, figures: own } of all)
    for (const { key, title } of own) {
      const name = `${set}_${key.replaceAll(" ", "_")}`;
      if (found.has(name)) continue;
      found.set(name, {
        key: name,
        heading: severalSets ? `${set} ${title}` : title,
        value: (run) =>
          run.figures.find((other) => other.set === set)?.figures.find((other) => other.key === key)
            ?.value,
        show: percent,
        isResult: true,
      });
    }
  return [...found.values()];
};

/** The figures of a comparison in the order of the columns: those of every run, and the main ones of the sets that these runs have answered. */
export const figuresOf = (rows: readonly ComparedRow[]): readonly Figure[] =>
  figures.flatMap((figure) =>
    figure.key === "accuracy" ? [figure, ...setFigures(rows)] : [figure],
  );

/** A figure over the runs of a row. */
export const spreadOfRow = ({ value }: Figure, { runs }: ComparedRow): Spread | undefined =>
  spreadOf(runs.map(value));

/** The spread as its mean is shown; a result's that would be 0.0000 as 9e-6. */
const showDeviation = ({ show, isResult }: Figure, { mean, deviation = 0 }: Spread): string => {
  const text = show(deviation, mean);
  return isResult && deviation > 0 && Number(text) === 0 ? deviation.toExponential(0) : text;
};

/** `1.2345`, or over several runs `1.2345 ± 0.0012`, with their number where not all of the row's runs have the figure. */
export const showSpread = (figure: Figure, row: ComparedRow): string | undefined => {
  const spread = spreadOfRow(figure, row);
  if (!spread) return undefined;
  const { mean, deviation, n } = spread;
  const { show, unit, isResult } = figure;
  const hasSpread = deviation !== undefined && (isResult === true || deviation > 0);
  const plusMinus = hasSpread ? ` ± ${showDeviation(figure, spread)}` : "";
  const few = n < row.runs.length ? ` (${String(n)})` : "";
  return `${show(mean, mean)}${plusMinus}${unit?.(mean) ?? ""}${few}`;
};
