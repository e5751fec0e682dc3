import { comparisonWarnings, type RunSummary } from "../evaluate/compare-runs.js";
import { commonsenseNames, commonsenseSets } from "../evaluate/commonsense.js";
import type { LeftOut } from "../evaluate/find-runs.js";
import type { Painter } from "./style-text.js";
import { formatTable, type Column } from "./table.js";

interface ComparedColumn extends Column {
  /** Undefined for what the run has not written. */
  readonly cell: (run: RunSummary, index: number) => string | undefined;
}

const grouped = (value: number): string => Math.round(value).toLocaleString("en-US");
const mebi = 2 ** 20;

/** MiB, or KiB of what would hardly show in them. */
const sizeOf = (bytes: number | undefined): string | undefined => {
  if (bytes === undefined) return undefined;
  if (bytes < 0.1 * mebi) return `${(bytes / 1024).toFixed(1)} KiB`;
  return `${(bytes / mebi).toFixed(bytes < 100 * mebi ? 2 : 0)} MiB`;
};

const right = (heading: string, cell: ComparedColumn["cell"]): ComparedColumn => ({
  heading,
  align: "right",
  cell,
});
const left = (heading: string, cell: ComparedColumn["cell"]): ComparedColumn => ({
  heading,
  align: "left",
  cell,
});

/** A star where the mean is over fewer than the eight sets. */
const accuracyOf = ({ accuracy }: RunSummary): string | undefined =>
  accuracy &&
  `${accuracy.average.accuracy.toFixed(2)}${accuracy.average.sets < commonsenseNames.length ? "*" : ""}`;

const columnsOf = ({ perSet }: { readonly perSet: boolean }): readonly ComparedColumn[] => [
  right("#", (_, index) => String(index + 1)),
  left("method", ({ method }) => method),
  right("trainable", ({ parameters }) => parameters && grouped(parameters.trainable)),
  right(
    "%",
    ({ parameters }) => parameters && ((100 * parameters.trainable) / parameters.all).toFixed(3),
  ),
  right("val. loss", ({ best }) => best?.loss.toFixed(4)),
  ...(perSet
    ? commonsenseNames.map((name) =>
        right(commonsenseSets[name].title, ({ accuracy }) =>
          accuracy?.sets[name]?.score.accuracy.toFixed(2),
        ),
      )
    : []),
  right("accuracy", accuracyOf),
  right("95 % interval", ({ accuracy }) => {
    const interval = accuracy?.average.interval;
    return interval && `${interval.low.toFixed(2)} – ${interval.high.toFixed(2)}`;
  }),
  right("step", ({ medianStepMs: ms }) => (ms === undefined ? undefined : `${grouped(ms)} ms`)),
  right("tokens/s", ({ tokensPerSecond: rate }) =>
    rate === undefined ? undefined : grouped(rate),
  ),
  right("peak memory", ({ peakMemoryBytes }) => sizeOf(peakMemoryBytes)),
  right("adapter", ({ adapterBytes }) => sizeOf(adapterBytes)),
];

const cellsOf = (
  runs: readonly RunSummary[],
  columns: readonly ComparedColumn[],
): readonly (readonly string[])[] =>
  runs.map((run, index) => columns.map(({ cell }) => cell(run, index) ?? "-"));

const legend = (runs: readonly RunSummary[]): readonly string[] => [
  ...runs.map(({ name }, i) => `${String(i + 1)}  ${name}`),
];

const notes = (runs: readonly RunSummary[]): readonly string[] => [
  "-: the run has not written it; step: median; peak memory: of the training process, with the pages of the model's files",
  ...(runs.some(({ accuracy }) => accuracy && accuracy.average.sets < commonsenseNames.length)
    ? ["*: mean over the sets that are there, fewer than eight"]
    : []),
];

/** The comparison as lines for a terminal: the table, the runs' names, what the signs mean, warnings. */
export const formatComparison = (
  runs: readonly RunSummary[],
  { perSet, paint }: { readonly perSet: boolean; readonly paint: Painter },
): readonly string[] => {
  const columns = columnsOf({ perSet });
  return [
    ...formatTable(columns, cellsOf(runs, columns), {
      paintHeading: (text) => paint("bold", text),
    }),
    "",
    ...legend(runs),
    "",
    ...notes(runs).map((line) => paint("dim", line)),
    ...comparisonWarnings(runs).map((line) => paint("yellow", `! ${line}`)),
  ];
};

/** A cell of a Markdown table. */
const escaped = (text: string): string => text.replaceAll("|", "\\|");

/** The comparison as Markdown. */
export const comparisonMarkdown = (
  runs: readonly RunSummary[],
  { perSet }: { readonly perSet: boolean },
): string => {
  const columns = columnsOf({ perSet });
  const row = (cells: readonly string[]): string => `| ${cells.map(escaped).join(" | ")} |`;
  return [
    row(columns.map(({ heading }) => heading)),
    row(columns.map(({ align }) => (align === "left" ? "---" : "---:"))),
    ...cellsOf(runs, columns).map(row),
    "",
    ...runs.map(({ name }, i) => `${String(i + 1)}. ${name}`),
    "",
    ...notes(runs),
    ...comparisonWarnings(runs).map((line) => `\n**Warning:** ${line}`),
    "",
  ].join("\n");
};

/** The comparison for programs: null for what a run has not written. */
export const comparisonJson = (
  runs: readonly RunSummary[],
  leftOut: readonly LeftOut[] = [],
): string =>
  JSON.stringify(
    {
      runs: runs.map((run) => ({
        folder: run.folder,
        method: run.method ?? null,
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
        steps: run.steps ?? null,
        median_step_ms: run.medianStepMs ?? null,
        tokens_per_second: run.tokensPerSecond ?? null,
        peak_memory_bytes: run.peakMemoryBytes ?? null,
        adapter_bytes: run.adapterBytes ?? null,
        conditions: run.conditions,
      })),
      left_out: leftOut,
      warnings: comparisonWarnings(runs),
    },
    undefined,
    2,
  );
