/** A column of a table: its heading, and on which side its cells stand. */
export interface Column {
  readonly heading: string;
  readonly align: "left" | "right";
}

/** How a row or heading is painted, after its cells have been padded. */
export type RowPainter = (text: string) => string;

const plain: RowPainter = (text) => text;

/** Between two columns. */
const gap = 2;

/** Columns in blocks that are no wider than `room`, the first `keys` of them in every block; a column that is wider stands alone. */
const splitColumns = (
  widths: readonly number[],
  keys: number,
  room: number,
): readonly (readonly number[])[] => {
  const keyColumns = widths.slice(0, keys).map((_, i) => i);
  const keyWidth = keyColumns.reduce((sum, i) => sum + (widths[i] ?? 0) + gap, 0);
  const blocks: number[][] = [];
  let used = 0;
  for (const [i, width] of widths.entries()) {
    if (i < keys) continue;
    if (blocks.length === 0 || used + gap + width > room) {
      blocks.push([...keyColumns]);
      used = keyWidth - gap;
    }
    blocks.at(-1)?.push(i);
    used += gap + width;
  }
  return blocks.length === 0 ? [keyColumns] : blocks;
};

const widthsOf = (
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
): readonly number[] =>
  columns.map(({ heading }, i) =>
    Math.max(heading.length, ...rows.map((row) => row[i]?.length ?? 0)),
  );

const sumOf = (widths: readonly number[]): number =>
  widths.reduce((sum, width) => sum + width + gap, -gap);

/** How wide a table is that is not cut. */
export const tableWidth = (
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
): number => sumOf(widthsOf(columns, rows));

/**
 * Lines of text in columns, two blanks between them and none at the end of a line.
 *
 * A rule stands below the heading. Every row has as many cells as there are columns. A table that is wider than `width` is
 * cut into several, one below the other, of which each begins with the first `keys` columns.
 */
export const formatTable = (
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  {
    width: room = Infinity,
    keys = 1,
    paintHeading = plain,
    paintRow = () => plain,
  }: {
    readonly width?: number;
    readonly keys?: number;
    readonly paintHeading?: RowPainter;
    readonly paintRow?: (row: number) => RowPainter;
  } = {},
): readonly string[] => {
  const widths = widthsOf(columns, rows);
  const block = (shown: readonly number[]): readonly string[] => {
    const line = (cells: readonly string[]): string =>
      shown
        .map((i) => {
          const cell = cells[i] ?? "";
          const width = widths[i] ?? 0;
          return columns[i]?.align === "left" ? cell.padEnd(width) : cell.padStart(width);
        })
        .join(" ".repeat(gap))
        .trimEnd();
    return [
      paintHeading(line(columns.map(({ heading }) => heading))),
      "─".repeat(sumOf(shown.map((i) => widths[i] ?? 0))),
      ...rows.map((row, i) => paintRow(i)(line(row))),
    ];
  };
  return splitColumns(widths, keys, room).flatMap((shown, i) =>
    i === 0 ? block(shown) : ["", ...block(shown)],
  );
};
