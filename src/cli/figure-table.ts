import { basename, dirname } from "node:path";
import type { ComparedFiles } from "../score/against.js";
import type { Interval } from "../score/intervals.js";
import type { ScoredFile } from "../score/score-files.js";
import type { Figure, Scored } from "../score/scorer.js";
import type { Painter } from "./style-text.js";
import { formatTable, tableWidth, type Column } from "./table.js";
import { wrapText } from "./wrap-text.js";

interface Terminal {
  readonly columns: number;
  readonly paint: Painter;
}

const percent = (value: number): string => value.toFixed(2);
const range = ({ low, high }: Interval): string => `${percent(low)} – ${percent(high)}`;
const right = (heading: string): Column => ({ heading, align: "right" });
const left = (heading: string): Column => ({ heading, align: "left" });

/** `7801 rows, 7500 contexts` */
const sizeOf = ({ rows, items }: Scored): string =>
  items === rows ? `${String(rows)} rows` : `${String(rows)} rows, ${String(items)} contexts`;

const shortPath = (path: string): string => {
  const folder = basename(dirname(path));
  return folder === "" || folder === "." ? basename(path) : `${folder}/${basename(path)}`;
};

const countsLine = ({ counts }: Scored): readonly string[] => {
  const shown = Object.entries(counts).filter(([, count]) => count > 0);
  return shown.length === 0
    ? []
    : [`rows with ${shown.map(([name, count]) => `${name}: ${String(count)}`).join(", ")}`];
};

/** `bert f1, BERT Recall: not computed, reason`, a line a reason. */
const missingLines = (figures: readonly Figure[]): readonly string[] => {
  const byReason = new Map<string, string[]>();
  for (const figure of figures)
    if (figure.value === undefined)
      byReason.set(figure.missing, [...(byReason.get(figure.missing) ?? []), figure.title]);
  return [...byReason].map(([reason, names]) => `${names.join(", ")}: not computed, ${reason}`);
};

const notesOf = ({ scored }: ScoredFile): readonly string[] => [
  ...countsLine(scored),
  ...missingLines(scored.figures),
  ...scored.remarks,
];

const wrapped = (lines: readonly string[], { columns }: Terminal): readonly string[] =>
  lines.flatMap((line) => wrapText(line, columns, "  "));

const headed = (
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  { columns: width, paint }: Terminal,
): readonly string[] =>
  formatTable(columns, rows, { width, paintHeading: (text) => paint("bold", text) });

/** One file: a line a figure, then its groups, then what a reader has to know. */
const oneFile = (file: ScoredFile, terminal: Terminal): readonly string[] => {
  const { scored, path, set, scorer } = file;
  const { paint } = terminal;
  const name = set === undefined || set === scorer ? scorer : `${set} (${scorer})`;
  const computed = scored.figures.flatMap((figure) =>
    figure.value === undefined
      ? []
      : [[figure.title, percent(figure.value), range(figure.interval)]],
  );
  const groups = scored.groups.map((group) => [
    group.name,
    percent(group.accuracy),
    range(group.interval),
    String(group.right),
    String(group.rows),
  ]);
  const notes = wrapped(notesOf(file), terminal);
  return [
    ...wrapped([shortPath(path)], terminal).map((line) => paint("bold", line)),
    paint("dim", `${name}, ${sizeOf(scored)}`),
    "",
    ...headed([left("figure"), right("value"), right("95 % interval")], computed, terminal),
    ...(groups.length > 0
      ? [
          "",
          ...headed(
            [
              left("subject"),
              right("accuracy"),
              right("95 % interval"),
              right("right"),
              right("rows"),
            ],
            groups,
            terminal,
          ),
        ]
      : []),
    ...(notes.length > 0 ? ["", ...notes] : []),
  ];
};

/** Several files of one scorer: two lines each, figures and below them half the width of their intervals. */
const manyFiles = (files: readonly ScoredFile[], terminal: Terminal): readonly string[] => {
  const [first] = files;
  if (first === undefined) return [];
  const keys = first.scored.figures.filter(({ key }) =>
    files.some(({ scored }) =>
      scored.figures.some((figure) => figure.key === key && figure.value !== undefined),
    ),
  );
  const cells = files.flatMap(({ scored }) => {
    const found = keys.map(({ key }) => scored.figures.find((figure) => figure.key === key));
    return [
      [
        ...found.map((figure) => (figure?.value === undefined ? "-" : percent(figure.value))),
        String(scored.rows),
      ],
      [
        ...found.map((figure) =>
          figure?.value === undefined
            ? ""
            : `±${percent((figure.interval.high - figure.interval.low) / 2)}`,
        ),
        "",
      ],
    ];
  });
  const labels = files.map(({ path }) => shortPath(path));
  const columns = [left("file"), ...keys.map(({ title }) => right(title)), right("rows")];
  const withLabels = (names: readonly string[]): readonly (readonly string[])[] =>
    cells.map((row, i) => [i % 2 === 0 ? (names[i / 2] ?? "") : "", ...row]);
  const named = withLabels(labels);
  const fits = tableWidth(columns, named) <= terminal.columns;
  const numbers = files.map((_, i) => String(i + 1));
  return [
    terminal.paint("bold", first.scorer),
    "",
    ...headed(columns, fits ? named : withLabels(numbers), terminal),
    "",
    ...(fits ? [] : [...labels.map((label, i) => `${numbers[i] ?? ""}  ${label}`), ""]),
    ...wrapped(["±: half of the 95 % interval"], terminal),
    ...files.flatMap((file, i) =>
      wrapped(
        notesOf(file).map((note) => `${fits ? (labels[i] ?? "") : (numbers[i] ?? "")}: ${note}`),
        terminal,
      ),
    ),
  ];
};

/** The figures of files as lines for a terminal: a block a scorer, blank lines between them. */
export const formatFigures = (
  files: readonly ScoredFile[],
  terminal: Terminal,
): readonly string[] => {
  const byScorer = new Map<string, ScoredFile[]>();
  for (const file of files) byScorer.set(file.scorer, [...(byScorer.get(file.scorer) ?? []), file]);
  return [...byScorer.values()].flatMap((members, i) => {
    const [only] = members;
    const block =
      members.length === 1 && only ? oneFile(only, terminal) : manyFiles(members, terminal);
    return i === 0 ? block : ["", ...block];
  });
};

/** 0.0312, and 3e-9 for what that would show as 0. */
const showP = (p: number): string => (p >= 0.0001 || p === 0 ? p.toFixed(4) : p.toExponential(0));

const signed = (value: number): string => `${value < 0 ? "" : "+"}${percent(value)}`;

/** Two runs on the same rows: a line a figure with the difference, its interval and the test's p. */
export const formatAgainst = (
  compared: readonly ComparedFiles[],
  terminal: Terminal,
): readonly string[] => [
  ...compared.flatMap(({ first, second, figures }, i) => [
    ...(i === 0 ? [] : [""]),
    ...wrapped([`A: ${shortPath(first.path)}`, `B: ${shortPath(second.path)}`], terminal).map(
      (line) => terminal.paint("bold", line),
    ),
    terminal.paint("dim", `${first.set ?? first.scorer}, ${sizeOf(first.scored)}`),
    "",
    ...headed(
      [
        left("figure"),
        right("A"),
        right("B"),
        right("A - B"),
        right("95 % interval"),
        right("p"),
        left("test"),
      ],
      figures.map(({ title, first: a, second: b, difference, test }) => [
        title,
        percent(a),
        percent(b),
        signed(difference),
        `${signed(test.interval.low)} – ${signed(test.interval.high)}`,
        showP(test.p),
        test.name,
      ]),
      terminal,
    ),
  ]),
];
