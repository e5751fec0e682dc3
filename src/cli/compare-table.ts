import { comparisonWarnings, type ComparedRow } from "../runs/compared-rows.js";
import { commonsenseNames } from "../score/commonsense.js";
import { figuresOf, showSpread } from "./compare-figures.js";
import { rankOf } from "./compare-rows.js";
import type { Painter } from "./style-text.js";
import { formatTable, tableWidth, type Column } from "./table.js";
import { wrapText } from "./wrap-text.js";

interface ComparedColumn extends Column {
  /** Undefined for what the run has not written. */
  readonly cell: (row: ComparedRow, index: number) => string | undefined;
}

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

const isPartial = ({ runs }: ComparedRow): boolean =>
  runs.some(({ accuracy }) => accuracy && accuracy.average.sets < commonsenseNames.length);

const hasSeveral = (rows: readonly ComparedRow[]): boolean =>
  rows.some(({ runs }) => runs.length > 1);

const number = right("#", (_, index) => String(index + 1));
const name = left("run", (row) => row.name);

/** The 95 % interval of one run's accuracy; a row of several has the spread over seeds in its place. */
const interval = right("95 % interval", ({ runs }) => {
  if (runs.length > 1) return "";
  const found = runs[0]?.accuracy?.average.interval;
  return found && `${found.low.toFixed(2)} – ${found.high.toFixed(2)}`;
});

/** All columns but the number and the name. */
const figureColumns = (
  rows: readonly ComparedRow[],
  { perSet }: { readonly perSet: boolean },
): readonly ComparedColumn[] => {
  const namesMethod = rows.every((row) => {
    const method = row.runs[0]?.method;
    return (
      method !== undefined && [method, `peft_type=${method}`].includes(row.name.split(",")[0] ?? "")
    );
  });
  const all = rows.flatMap(({ runs }) => runs);
  const hasAccuracy = all.some(({ accuracy }) => accuracy);
  const hasOthers = all.some(({ figures }) => figures.length > 0);
  return [
    ...(namesMethod ? [] : [left("method", ({ runs }) => runs[0]?.method)]),
    right("rank", ({ runs }) => runs[0] && rankOf(runs[0])),
    ...(hasSeveral(rows) ? [right("n", ({ runs }) => String(runs.length))] : []),
    ...figuresOf(rows)
      .filter(({ ofSet }) => perSet || !ofSet)
      // Runs on other sets alone have their own figures in its place.
      .filter(({ key }) => key !== "accuracy" || hasAccuracy || !hasOthers)
      .flatMap((figure) =>
        figure.key === "accuracy"
          ? [
              // A star where the mean is over fewer than the eight sets.
              right(figure.heading, (row) => {
                const shown = showSpread(figure, row);
                return shown && `${shown}${isPartial(row) ? "*" : ""}`;
              }),
              ...(rows.some(({ runs }) => runs.length === 1) ? [interval] : []),
            ]
          : [right(figure.heading, (row) => showSpread(figure, row))],
      ),
  ];
};

const cellsOf = (
  rows: readonly ComparedRow[],
  columns: readonly ComparedColumn[],
): readonly (readonly string[])[] =>
  rows.map((row, index) => columns.map(({ cell }) => cell(row, index) ?? "-"));

const notes = (rows: readonly ComparedRow[]): readonly string[] => [
  "-: the run has not written it, or its method has no rank; step: median; peak memory: of the training process, with the pages of the model's files",
  ...(hasSeveral(rows)
    ? ["n: runs that differ in seed alone; ±: their standard deviation (n - 1), beside the mean"]
    : []),
  ...(rows.some(isPartial) ? ["*: mean over the sets that are there, fewer than eight"] : []),
];

/** `1  RUN`, a line a run; first the row's name where the table has no room for it. */
const legend = (
  rows: readonly ComparedRow[],
  { named, folders, columns }: { named: boolean; folders: boolean; columns: number },
): readonly string[] => {
  const digits = String(rows.length).length;
  const indent = " ".repeat(digits + 2);
  return rows.flatMap((row, i) => {
    const texts = [
      ...(named ? [] : [row.name]),
      ...(folders ? row.runs.map((run) => run.name) : []),
    ];
    return texts.flatMap((text, j) => {
      const [first = "", ...others] = wrapText(text, columns - indent.length, "  ");
      const start = j === 0 ? `${String(i + 1).padStart(digits)}  ` : indent;
      return [start + first, ...others.map((line) => indent + line)];
    });
  });
};

/** How a comparison is shown on a terminal. */
export interface ComparisonView {
  readonly perSet: boolean;
  readonly columns: number;
  readonly paint: Painter;
  /** Whether the names of the runs' folders stand below. */
  readonly folders?: boolean;
}

/** The comparison as lines for a terminal: the table, the runs' folders, what the signs mean, warnings. */
export const formatComparison = (
  rows: readonly ComparedRow[],
  { perSet, columns: width, paint, folders = true }: ComparisonView,
): readonly string[] => {
  const longest = Math.max(...rows.map((row) => row.name.length));
  const unnamed = [number, ...figureColumns(rows, { perSet })];
  const withNames = [number, name, ...figureColumns(rows, { perSet })];
  const fits = (shown: readonly ComparedColumn[]): boolean =>
    tableWidth(shown, cellsOf(rows, shown)) <= width;
  // Names stand below the table where they are too long to leave figures room, or would cut a table that is whole without them.
  const named = longest <= width / 2 && (fits(withNames) || !fits(unnamed));
  const columns = named ? withNames : unnamed;
  const names = legend(rows, { named, folders, columns: width });
  const said = (lines: readonly string[], style: "dim" | "yellow", mark: string): string[] =>
    lines
      .flatMap((line) => wrapText(`${mark}${line}`, width, "  "))
      .map((line) => paint(style, line));
  const table = (keys: number): readonly string[] =>
    formatTable(columns, cellsOf(rows, columns), {
      width,
      keys,
      paintHeading: (text) => paint("bold", text),
    });
  // The name stands in every part of a table that has to be cut, unless that takes more parts.
  const [narrow, wide] = [table(1), table(2)];
  return [
    ...(named && wide.length <= narrow.length ? wide : narrow),
    "",
    ...(names.length > 0 ? [...names, ""] : []),
    ...said(notes(rows), "dim", ""),
    ...said(comparisonWarnings(rows), "yellow", "! "),
  ];
};

/** A cell of a Markdown table. */
const escaped = (text: string): string => text.replaceAll("|", "\\|");

/** The comparison as Markdown. */
export const comparisonMarkdown = (
  rows: readonly ComparedRow[],
  { perSet }: { readonly perSet: boolean },
): string => {
  const columns = [number, name, ...figureColumns(rows, { perSet })];
  const line = (cells: readonly string[]): string => `| ${cells.map(escaped).join(" | ")} |`;
  return [
    line(columns.map(({ heading }) => heading)),
    line(columns.map(({ align }) => (align === "left" ? "---" : "---:"))),
    ...cellsOf(rows, columns).map(line),
    "",
    ...rows.map(({ runs }, i) => `${String(i + 1)}. ${runs.map((run) => run.name).join(", ")}`),
    "",
    ...notes(rows).flatMap((note, i) => (i === 0 ? [note] : ["", note])),
    ...comparisonWarnings(rows).map((warning) => `\n**Warning:** ${warning}`),
    "",
  ].join("\n");
};
