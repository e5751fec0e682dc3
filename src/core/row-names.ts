/**
 * Rows in messages. They are counted from 1, as lines are: row 1 of a file with a row a line stands in line 1. Inside the
 * program rows are counted from 0.
 */

/** `row 3` of the third row, whose index is 2. */
export const nameRow = (index: number): string => `row ${String(index + 1)}`;

/** `row 4` of index 3, `rows 4, 5, 10`, `rows 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 12 more`. */
export const listRows = (indices: readonly number[]): string => {
  const [only] = indices;
  if (only !== undefined && indices.length === 1) return nameRow(only);
  const listed = indices.slice(0, 10).map((index) => String(index + 1));
  const rest = indices.length > 10 ? ` and ${String(indices.length - 10)} more` : "";
  return `rows ${listed.join(", ")}${rest}`;
};
