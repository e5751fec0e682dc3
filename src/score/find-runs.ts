import { existsSync, type Stats } from "node:fs";
import { readdir, realpath, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { messageOf } from "../core/errors.js";
import { checkpointStep } from "../train/trainer-state.js";

/** A path that was given, or lies right in a folder that was, and is no part of the result. */
export interface LeftOut {
  readonly path: string;
  /** `a file`, `no run in it`. */
  readonly reason: string;
}

/** Whether a folder is a run's own: ours writes run.json first, the original's program output.jsonl alone. */
export const isRunFolder = (folder: string): boolean =>
  ["run.json", "output.jsonl"].some((name) => existsSync(join(folder, name)));

/** How far below a folder its runs are looked for: results_sweep/<study>/<settings>/<run>, and an --exp_name with folders. */
const deepest = 4;

/** Names at which the search does not look: what programs hide, and what is large and never holds a run. */
const isPassedOver = (name: string): boolean => name.startsWith(".") || name === "node_modules";

/** The folders in a folder, by name; none where it cannot be read. */
export const foldersIn = async (folder: string): Promise<readonly string[]> => {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  const found: string[] = [];
  for (const entry of entries) {
    if (isPassedOver(entry.name)) continue;
    const path = join(folder, entry.name);
    // A link to a run elsewhere is a run here.
    const isFolder = entry.isSymbolicLink()
      ? await stat(path).then(
          (target) => target.isDirectory(),
          () => false,
        )
      : entry.isDirectory();
    if (isFolder) found.push(path);
  }
  return found.sort();
};

/** The folders at and below `folder` that `holds` takes, which are not looked into any further. */
export const foldersThat = async (
  holds: (folder: string) => boolean | Promise<boolean>,
  folder: string,
  depth = deepest,
): Promise<readonly string[]> => {
  if (await holds(folder)) return [folder];
  if (depth === 0) return [];
  const found: string[] = [];
  for (const below of await foldersIn(folder))
    found.push(...(await foldersThat(holds, below, depth - 1)));
  return found;
};

/** What a file or folder is that was given and cannot be taken. */
export const describeUnfit = (path: string, isFolder: boolean, nothing: string): string => {
  const name = basename(path);
  const parent = dirname(path);
  if (isFolder)
    return checkpointStep(name) !== undefined && isRunFolder(parent)
      ? "a checkpoint, not its run's folder"
      : nothing;
  if (/^results_\w+\.csv$|_results_all\.csv$/.test(name)) return "a table of scores";
  if (name.endsWith(".partial")) return "answers that are not whole yet";
  return isRunFolder(parent) ? "a file of a run, not its folder" : "a file";
};

const mostNames = 3;

/** `a, b, c and 4 more`; a name that several paths share stands there once. */
const firstNames = (paths: readonly string[]): string => {
  const names = [...new Set(paths.map((path) => basename(path) || path))];
  const shown = names.length <= mostNames + 1 ? names : names.slice(0, mostNames);
  const more = paths.length - shown.length;
  return `${shown.join(", ")}${more > 0 ? ` and ${String(more)} more` : ""}`;
};

/** Everything that was left out, in one line: `a.csv, b.csv (a table of scores); notes (no run in it)`. */
export const describeLeftOut = (leftOut: readonly LeftOut[]): string => {
  const byReason = new Map<string, string[]>();
  for (const { path, reason } of leftOut)
    byReason.set(reason, [...(byReason.get(reason) ?? []), path]);
  return [...byReason]
    .map(([reason, paths]) => {
      const line = reason.replace(/\s*\n\s*/g, " ");
      // A fault of a file names it, with its folder.
      return line.startsWith("Cannot ") ? line : `${firstNames(paths)} (${line})`;
    })
    .join("; ");
};

/** What the file system says against reading a path. */
export const accessFault = (error: unknown): string => {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (code === "ENOENT" || code === "ENOTDIR") return "no such file or folder";
  return code === "EACCES" ? "no right to read it" : messageOf(error).replace(/^found /, "");
};

/** What a given path is. @throws what the file system says where it is not there, or is a folder that cannot be read */
export const lookAt = async (path: string): Promise<Stats> => {
  const entry = await stat(path);
  if (entry.isDirectory()) await readdir(path);
  return entry;
};

/**
 * The runs among the given paths: a run's own folder stands for itself, another folder for the runs below it. What is given,
 * or lies right in a given folder of runs, and holds none, is left out. A run that is met twice counts once.
 *
 * @returns the runs' folders in the order given, those of one folder by name
 */
export const findRuns = async (
  paths: readonly string[],
): Promise<{ readonly folders: readonly string[]; readonly leftOut: readonly LeftOut[] }> => {
  const folders = new Map<string, string>();
  const leftOut: LeftOut[] = [];
  const take = async (found: readonly string[]): Promise<void> => {
    for (const folder of found) {
      const real = await realpath(folder);
      if (!folders.has(real)) folders.set(real, folder);
    }
  };
  const refuse = (path: string, isFolder: boolean): void => {
    leftOut.push({ path, reason: describeUnfit(path, isFolder, "no run in it") });
  };
  for (const path of paths) {
    const entry = await lookAt(path).catch((error: unknown) => {
      leftOut.push({ path, reason: accessFault(error) });
    });
    if (!entry) continue;
    if (!entry.isDirectory()) {
      refuse(path, false);
      continue;
    }
    const found = await foldersThat(isRunFolder, path);
    await take(found);
    if (found.length === 0) refuse(path, true);
    // A folder of runs is what the shell makes of it with /*.
    else if (found[0] !== path)
      for (const below of await foldersIn(path)) {
        const none = (await foldersThat(isRunFolder, below, deepest - 1)).length === 0;
        if (none) refuse(below, true);
      }
  }
  return { folders: [...folders.values()], leftOut };
};
