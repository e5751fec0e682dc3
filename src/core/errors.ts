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

/** Of more faults of one kind than these the first is shown, and the others are counted. */
const mostOfKind = 8;

/** Where a fault is, and what it is: `"lm_head.weight": found nothing, expected [8, 4]`. */
const faultParts = /^(.*?): ((?:found|expected|missing)\b[^]*)$/;

/** What faults of one kind share: their words without the numbers, shapes and quotes in them. */
const kindOf = (fault: string): string => {
  const [, place = "", text = fault] = faultParts.exec(fault) ?? [];
  // Flags are few, and each is for a person to mend.
  if (place.startsWith("--")) return fault;
  return text
    .replaceAll(/"(?:[^"\\]|\\.)*"/g, '""')
    .replaceAll(/\[[^\]]*\]/g, "[]")
    .replaceAll(/-?\d[\d.,]*(?:e[+-]?\d+)?/gi, "0");
};

/** Lines of faults beyond these are counted, however different they are; but for flags. */
const mostLines = 24;

/**
 * The lines that tell faults: each its own, but of many of one kind the first, how many more there are, and where the last is.
 *
 * Faults are of one kind where they differ in their place, and in nothing but numbers, shapes and quotes beside it.
 */
export const linesOfFaults = (faults: readonly string[]): readonly string[] => {
  const byKind = new Map<string, string[]>();
  for (const fault of faults) {
    const kind = kindOf(fault);
    const others = byKind.get(kind);
    if (others) others.push(fault);
    else byKind.set(kind, [fault]);
  }
  const told = new Set<string>();
  const lines = faults.flatMap((fault) => {
    const kind = kindOf(fault);
    const same = byKind.get(kind) ?? [];
    if (same.length <= mostOfKind) return [fault];
    if (told.has(kind)) return [];
    told.add(kind);
    const last = same.at(-1) ?? "";
    return [
      fault,
      `and ${String(same.length - 1)} more of this kind, up to ${faultParts.exec(last)?.[1] ?? last}`,
    ];
  });
  const shown = lines.filter((line, i) => i < mostLines || line.startsWith("--"));
  const rest = lines.length - shown.length;
  return rest > 0 ? [...shown, `and ${String(rest)} more`] : shown;
};

/**
 * One UserError for all faults of a kind: a single fault stands in the first line, more stand below it, one a line; see
 * linesOfFaults for many.
 *
 * @param task the words up to the colon, `Cannot load model/config.json`
 * @param faults at least one, each `found <this>, expected <that>`, with the place in front where there are several
 * @param inCommon one sentence about many faults of one kind: their cause; shown only where there are so many
 */
export const userErrorOfFaults = (
  task: string,
  faults: readonly string[],
  hint?: string,
  inCommon?: string,
): UserError => {
  if (faults.length === 1) return new UserError(`${task}: ${faults[0] ?? ""}`, hint);
  const lines = linesOfFaults(faults);
  const isLong = lines.length < faults.length;
  return new UserError(
    [
      `${task}: found ${String(faults.length)} faults`,
      ...[...lines, ...(isLong && inCommon !== undefined ? [inCommon] : [])].map(
        (line) => `  ${line}`,
      ),
    ].join("\n"),
    hint,
  );
};

/**
 * What a call on the file system has found, by its code, as `found <this>` or `found <this>, expected <that>`.
 *
 * Source: errno(3).
 */
const systemFaults: Readonly<Record<string, string>> = {
  ENOENT: "found no such file or folder",
  ENOTDIR: "found a part of its path to be no folder",
  EISDIR: "found a folder, expected a file",
  EEXIST: "found a file of that name, expected none",
  ENOTEMPTY: "found a folder that is not empty",
  EACCES: "found no permission for it",
  EPERM: "found no permission for it",
  EROFS: "found a file system that can only be read",
  ENOSPC: "found no room on the disk",
  EDQUOT: "found no room left in the quota of the disk",
  EFBIG: "found more than a file may hold here",
  ELOOP: "found symbolic links that lead in a circle",
  ENAMETOOLONG: "found a name that is too long for the file system",
  EMFILE: "found too many files open in this process",
  ENFILE: "found too many files open on this machine",
  EBUSY: "found it in use",
  ETXTBSY: "found it in use",
  EIO: "found a fault of the disk",
  ENXIO: "found no device behind it",
  ENODEV: "found no device behind it",
  ESTALE: "found a file of the network that is gone",
  EXDEV: "found two disks, expected one",
  ENOTSUP: "found a file system that cannot do it",
  ERR_FS_FILE_TOO_LARGE: "found more than 2 GiB",
  ERR_STRING_TOO_LONG: "found more text than a program can hold in one piece",
  ERR_INVALID_ARG_VALUE: "found a name that no file can have",
};

/** The code of a call on the file system that has failed, if it is one with words; else undefined. */
const systemCodeOf = (error: unknown): string | undefined =>
  error instanceof Error &&
  "code" in error &&
  typeof error.code === "string" &&
  Object.hasOwn(systemFaults, error.code)
    ? error.code
    : undefined;

/** The text of anything that was thrown; of a call on the file system that has failed, in words: `found <this>`. */
export const messageOf = (error: unknown): string => {
  const code = systemCodeOf(error);
  if (code !== undefined) return systemFaults[code] ?? code;
  return error instanceof Error ? error.message : String(error);
};

const systemTasks: Readonly<Record<string, string>> = {
  open: "open",
  read: "read",
  scandir: "read the folder",
  stat: "look at",
  lstat: "look at",
  access: "look at",
  realpath: "look at",
  write: "write",
  fsync: "write",
  fdatasync: "write",
  ftruncate: "write",
  mkdir: "make the folder",
  mkdtemp: "make the folder",
  rename: "rename",
  unlink: "remove",
  rm: "remove",
  rmdir: "remove",
  copyfile: "copy",
};

/**
 * A call on the file system that has failed and that nobody has put in words, as an error for the person; undefined for
 * anything else.
 */
export const userErrorOfSystem = (error: unknown): UserError | undefined => {
  if (systemCodeOf(error) === undefined || !(error instanceof Error) || !("syscall" in error))
    return undefined;
  const { syscall, path } = error as { readonly syscall: unknown; readonly path?: unknown };
  const task = systemTasks[String(syscall)] ?? "use";
  return new UserError(
    `Cannot ${task} ${typeof path === "string" ? path : "a file"}: ${messageOf(error)}`,
  );
};

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
