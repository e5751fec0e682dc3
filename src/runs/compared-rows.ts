import { basename } from "node:path";
import { conditionNames, type ConditionName, type RunSummary } from "./compare-runs.js";

/** A row of a comparison: one run, or several that differ in their seeds alone. */
export interface ComparedRow {
  /** What tells it from the other rows. */
  readonly name: string;
  /** At least one. */
  readonly runs: readonly RunSummary[];
}

/** A figure over the runs of a row. */
export interface Spread {
  readonly mean: number;
  /** Sample standard deviation, over n - 1; undefined for a single value. */
  readonly deviation: number | undefined;
  /** How many runs have the figure. */
  readonly n: number;
}

/** Mean and spread of the values that are there; undefined where none is. */
export const spreadOf = (values: readonly (number | undefined)[]): Spread | undefined => {
  const known = values.filter((value) => value !== undefined);
  const n = known.length;
  const [first] = known;
  if (first === undefined) return undefined;
  // Values that are all the same have no spread, whatever rounding would make of their sum.
  if (known.every((value) => value === first))
    return { mean: first, deviation: n > 1 ? 0 : undefined, n };
  const mean = known.reduce((sum, value) => sum + value, 0) / n;
  const squares = known.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean, deviation: Math.sqrt(squares / (n - 1)), n };
};

/** What a run's seed was, as a condition: "36", or "36 and 42" where start values and order have had their own. */
export const seedOf = ({ conditions }: RunSummary): string => conditions.seed ?? "not recorded";

const byNumber = (a: string, b: string): number =>
  a.localeCompare(b, "en", { numeric: true, sensitivity: "base" });

/** A condition of all runs of a row, each value once. */
const conditionOf = ({ runs }: ComparedRow, name: ConditionName): string =>
  [...new Set(runs.map(({ conditions }) => conditions[name] ?? "not recorded"))]
    .sort(byNumber)
    .join(", ");

/** `a (1, 3); b (2)`: each value with the numbers of its rows. */
const withRows = (rows: readonly ComparedRow[], valueOf: (row: ComparedRow) => string): string => {
  const byValue = new Map<string, string[]>();
  for (const [i, row] of rows.entries()) {
    const value = valueOf(row);
    byValue.set(value, [...(byValue.get(value) ?? []), String(i + 1)]);
  }
  return [...byValue].map(([value, numbers]) => `${value} (${numbers.join(", ")})`).join("; ");
};

const differ = (rows: readonly ComparedRow[], valueOf: (row: ComparedRow) => string): boolean =>
  new Set(rows.map(valueOf)).size > 1;

const setsOf = ({ runs }: ComparedRow): string =>
  Object.keys(runs.find(({ accuracy }) => accuracy)?.accuracy?.sets ?? {}).join(", ");

/** A line for every condition in which the rows differ, and for every run whose figures are not final. Rows go by their numbers. */
export const comparisonWarnings = (rows: readonly ComparedRow[]): readonly string[] => {
  const differing = conditionNames.flatMap((name) => {
    const valueOf = (row: ComparedRow): string => conditionOf(row, name);
    return differ(rows, valueOf)
      ? [`not comparable: the runs differ in ${name}: ${withRows(rows, valueOf)}`]
      : [];
  });
  const unfinished = rows.flatMap(({ runs }, i) =>
    runs.some(({ finished }) => !finished) ? [String(i + 1)] : [],
  );
  const numbers = new Map(rows.flatMap(({ runs }, i) => runs.map((run) => [run, i + 1] as const)));
  const answered = rows.filter((row) => setsOf(row) !== "");
  const numbered = (row: ComparedRow): string =>
    `${setsOf(row)} (${String(rows.indexOf(row) + 1)})`;
  return [
    ...differing,
    ...(unfinished.length > 0
      ? [
          `not finished (no output.jsonl): ${unfinished.join(", ")}; their figures are of the steps so far`,
        ]
      : []),
    ...(differ(answered, setsOf)
      ? [`not comparable: accuracies over different sets: ${answered.map(numbered).join("; ")}`]
      : []),
    ...[...numbers].flatMap(([run, number]) =>
      run.otherAnswers.length === 0
        ? []
        : [
            `run ${String(number)} was answered in several ways: shown is ${basename(run.accuracy?.model ?? "")}, not ${run.otherAnswers.join(", ")}`,
          ],
    ),
  ];
};
