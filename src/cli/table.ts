/** A column of a table: its heading, and on which side its cells stand. */
export interface Column {
  readonly heading: string;
  readonly align: "left" | "right";
}

/** How a row or heading is painted, after its cells have been padded. */
export type RowPainter = (text: string) => string;

const plain: RowPainter = (text) => text;

/**
 * Lines of text in columns, two blanks between them and none at the end of a line.
 *
 * `rule` draws a line below the heading. Every row has as many cells as there are columns.
 */
export const formatTable = (
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  {
    paintHeading = plain,
    paintRow = () => plain,
  }: {
    readonly paintHeading?: RowPainter;
    readonly paintRow?: (row: number) => RowPainter;
  } = {},
): readonly string[] => {
  const widths = columns.map(({ heading }, i) =>
    Math.max(heading.length, ...rows.map((row) => row[i]?.length ?? 0)),
  );
  const line = (cells: readonly string[]): string =>
    columns
      .map(({ align }, i) => {
        const cell = cells[i] ?? "";
        const width = widths[i] ?? 0;
        return align === "left" ? cell.padEnd(width) : cell.padStart(width);
      })
      .join("  ")
      .trimEnd();
  const heading = line(columns.map((column) => column.heading));
  const width = widths.reduce((sum, next) => sum + next + 2, -2);
  return [
    paintHeading(heading),
    "─".repeat(width),
    ...rows.map((row, i) => paintRow(i)(line(row))),
  ];
};
