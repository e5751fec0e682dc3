import { basename, dirname } from "node:path";
import { commonsenseNames, commonsenseSets, type AverageScore } from "../score/commonsense.js";
import type { Interval } from "../score/intervals.js";
import type { RunScore } from "../score/score-files.js";
import { formatTable, tableWidth, type Column } from "./table.js";
import type { Painter } from "./style-text.js";
import { wrapText } from "./wrap-text.js";

const percent = (value: number): string => value.toFixed(2);
const range = ({ low, high }: Interval): string => `${percent(low)} – ${percent(high)}`;
const halfWidth = ({ low, high }: Interval): string => `±${percent((high - low) / 2)}`;

const right = (heading: string): Column => ({ heading, align: "right" });
const left = (heading: string): Column => ({ heading, align: "left" });

/** Rows of all sets together and the share of them without an answer, in percent. */
const totals = ({ sets }: RunScore): { readonly rows: number; readonly noAnswer: number } => {
  const scores = commonsenseNames.flatMap((name) => sets[name]?.score ?? []);
  const rows = scores.reduce((sum, score) => sum + score.rows, 0);
  const without = scores.reduce((sum, score) => sum + score.noAnswer * score.rows, 0);
  return { rows, noAnswer: without / rows };
};

const isComplete = (average: AverageScore): boolean => average.sets === commonsenseNames.length;

/** "The average is over 3 of the 8 sets." and what else a reader has to know before quoting a number. */
const remarks = (runs: readonly RunScore[]): string[] => {
  const lines: string[] = [];
  if (runs.some(({ average }) => !isComplete(average)))
    lines.push("* over the sets that are there: the paper's average is over all eight");
  const untrue = runs.flatMap(({ sets }) =>
    commonsenseNames.flatMap((name) => {
      const file = sets[name];
      return file !== undefined && file.score.noTruth > 0 ? [file] : [];
    }),
  );
  for (const { path, score } of untrue)
    lines.push(
      `! ${path}: ${String(score.noTruth)} rows whose gt has no answer of this set; they count as wrong`,
    );
  return lines;
};

/** What a table is written on. */
interface Terminal {
  readonly columns: number;
  readonly paint: Painter;
}

/** The run's folder and, below it, its files with a star for the set. */
const heading = ({ model, sets }: RunScore, { columns, paint }: Terminal): readonly string[] => {
  const names = commonsenseNames.flatMap((set) => {
    const name = sets[set] && basename(sets[set].path);
    return name === undefined ? [] : [name.replace(set, "*")];
  });
  const lines = (style: "bold" | "dim", text: string): readonly string[] =>
    wrapText(text, columns, "  ").map((line) => paint(style, line));
  return [
    ...lines("bold", basename(dirname(model))),
    ...lines("dim", [...new Set(names)].join(", ")),
  ];
};

/** One run: a line a set, with interval, share without an answer and rows. */
const oneRun = (run: RunScore, { columns, paint }: Terminal): readonly string[] => {
  const rows = commonsenseNames.flatMap((name) => {
    const score = run.sets[name]?.score;
    if (score === undefined) return [];
    return [
      [
        commonsenseSets[name].title,
        percent(score.accuracy),
        range(score.interval),
        percent(score.noAnswer),
        String(score.right),
        String(score.rows),
      ],
    ];
  });
  const { average } = run;
  const all = totals(run);
  const averageRow = [
    isComplete(average) ? "average" : "average*",
    percent(average.accuracy),
    range(average.interval),
    percent(all.noAnswer),
    "",
    String(all.rows),
  ];
  return formatTable(
    [
      left("set"),
      right("accuracy"),
      right("95 % interval"),
      right("no answer"),
      right("right"),
      right("rows"),
    ],
    [...rows, averageRow],
    {
      width: columns,
      paintHeading: (text) => paint("bold", text),
      paintRow: (row) => (text) => (row === rows.length ? paint("bold", text) : text),
    },
  );
};

/** What tells the runs apart: their folders, and the files' name where one folder holds several. */
const runLabels = (runs: readonly RunScore[]): readonly string[] => {
  const folders = runs.map(({ model }) => dirname(model));
  return runs.map(({ model }, i) => {
    const folder = folders[i] ?? "";
    const shared = folders.filter((other) => other === folder).length > 1;
    return shared ? `${basename(folder)}/${basename(model)}` : basename(folder);
  });
};

/** Several runs: two lines each, accuracies and below them half the width of their intervals. */
const manyRuns = (runs: readonly RunScore[], { columns, paint }: Terminal): readonly string[] => {
  const labels = runLabels(runs);
  const headings = [
    ...commonsenseNames.map((name) => right(commonsenseSets[name].title)),
    right("average"),
    right("none"),
  ];
  const cells = runs.flatMap((run) => {
    const { average } = run;
    const scores = commonsenseNames.map((name) => run.sets[name]?.score);
    const star = isComplete(average) ? "" : "*";
    return [
      [
        ...scores.map((score) => (score ? percent(score.accuracy) : "-")),
        `${percent(average.accuracy)}${star}`,
        percent(totals(run).noAnswer),
      ],
      [
        ...scores.map((score) => (score ? halfWidth(score.interval) : "")),
        halfWidth(average.interval),
        "",
      ],
    ];
  });
  const shown = [left("run"), ...headings];
  const withLabels = (names: readonly string[]): readonly (readonly string[])[] =>
    cells.map((row, i) => [i % 2 === 0 ? (names[i / 2] ?? "") : "", ...row]);
  const table = (rows: readonly (readonly string[])[]): readonly string[] =>
    formatTable(shown, rows, {
      width: columns,
      paintHeading: (text) => paint("bold", text),
      paintRow: (row) => (text) => (row % 2 === 1 ? paint("dim", text) : text),
    });
  const note = wrapText(
    "±: half of the 95 % interval; none: rows without an answer, in percent",
    columns,
    "  ",
  );
  const named = withLabels(labels);
  if (tableWidth(shown, named) <= columns) return [...table(named), "", ...note];
  // Names of runs are long: numbers stand in the table, and the names below it.
  const numbers = runs.map((_, i) => String(i + 1));
  const indent = " ".repeat(String(runs.length).length + 2);
  return [
    ...table(withLabels(numbers)),
    "",
    ...labels.flatMap((label, i) => {
      const [first = "", ...others] = wrapText(label, columns - indent.length, "  ");
      return [
        `${(numbers[i] ?? "").padEnd(indent.length)}${first}`,
        ...others.map((line) => indent + line),
      ];
    }),
    "",
    ...note,
  ];
};

/** The results as lines for a terminal of so many columns. */
export const formatScores = (runs: readonly RunScore[], terminal: Terminal): readonly string[] => {
  const [only] = runs;
  const table =
    runs.length === 1 && only !== undefined
      ? [...heading(only, terminal), "", ...oneRun(only, terminal)]
      : manyRuns(runs, terminal);
  const notes = remarks(runs).flatMap((line) => wrapText(line, terminal.columns, "  "));
  return notes.length === 0 ? table : [...table, ...(runs.length === 1 ? [""] : []), ...notes];
};
