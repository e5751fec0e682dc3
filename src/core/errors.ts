/**
 * An error that the person running `hira` can mend: shown without a stack, exit code 2.
 *
 * `message` has the form `Cannot <do what> <where>: found <this>, expected <that>`; `hint` says what to do next.
 */
export class UserError extends Error {
  override readonly name = "UserError";
  readonly hint: string | undefined;

  constructor(message: string, hint?: string) {
    super(message);
    this.hint = hint;
  }
}

/**
 * One UserError for all faults of a kind: a single fault stands in the first line, more stand below it, one a line.
 *
 * @param task the words up to the colon, `Cannot load model/config.json`
 * @param faults at least one, each `found <this>, expected <that>`, with the place in front where there are several
 */
export const userErrorOfFaults = (
  task: string,
  faults: readonly string[],
  hint?: string,
): UserError =>
  faults.length === 1
    ? new UserError(`${task}: ${faults[0] ?? ""}`, hint)
    : new UserError(
        [`${task}: found ${String(faults.length)} faults`, ...faults.map((f) => `  ${f}`)].join(
          "\n",
        ),
        hint,
      );

/** The text of anything that was thrown. */
export const messageOf = (error: unknown): string =>
  error instanceof Error ? error.message : String(error);

/** Whether a call on the file system failed since there is no such file or folder. */
export const isNotFound = (error: unknown): boolean =>
  error instanceof Error && "code" in error && error.code === "ENOENT";

/** Optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours. */
const editDistance = (a: string, b: string): number => {
  const width = b.length + 1;
  const rows = Array.from({ length: a.length + 1 }, () => new Int32Array(width));
  const at = (i: number, j: number): number => rows[i]?.[j] ?? 0;
  for (let i = 0; i <= a.length; i++) {
    for (let j = 0; j <= b.length; j++) {
      let best: number;
      if (i === 0 || j === 0) best = i + j;
      else {
        const substitution = a[i - 1] === b[j - 1] ? 0 : 1;
        best = Math.min(at(i - 1, j) + 1, at(i, j - 1) + 1, at(i - 1, j - 1) + substitution);
        if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
          best = Math.min(best, at(i - 2, j - 2) + 1);
      }
      const row = rows[i];
      if (row) row[j] = best;
    }
  }
  return at(a.length, b.length);
};

/** `Did you mean "x"?` for the nearest of `known`, or undefined where nothing is near. */
export const didYouMean = (found: string, known: Iterable<string>): string | undefined => {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(found.length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(found.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best === undefined ? undefined : `Did you mean "${best}"?`;
};
