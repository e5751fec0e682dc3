import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join, normalize } from "node:path";
import { messageOf, UserError } from "../core/errors.js";
import { readRunFlags } from "../report/run-json.js";
import {
  accessFault,
  describeUnfit,
  foldersIn,
  foldersThat,
  isRunFolder,
  lookAt,
} from "./find-runs.js";
import { isScoredSet, scoredSets, setOfFileName } from "./sets.js";

const filesNamedAfterSets = async (folder: string): Promise<string[]> => {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  return entries
    .filter(({ name }) => name.endsWith(".jsonl") && setOfFileName(name) !== undefined)
    .map(({ name }) => join(folder, name));
};

/** The file of answers that a run leaves itself, where its first line names a set that is scored. */
const ownAnswers = async (folder: string): Promise<string[]> => {
  const path = join(folder, "output.jsonl");
  if (!existsSync(path)) return [];
  const flags = await readRunFlags(folder).catch((error: unknown) => {
    // What is broken in it is said where it is scored by its name.
    if (error instanceof UserError) return undefined;
    throw error;
  });
  return isScoredSet(flags?.dataset) ? [path] : [];
};

/** The files of a folder to score: those named after sets, else the run's own. */
const answersIn = async (folder: string): Promise<readonly string[]> => {
  const named = await filesNamedAfterSets(folder);
  return named.length > 0 ? named : ownAnswers(folder);
};

/** What is done with a path that cannot be scored: it is left out, for a reason in a few words, or else its fault is thrown. */
export type Leave = (path: string, reason: string, fault: UserError) => void;

const throwFault: Leave = (_path, _reason, fault) => {
  throw fault;
};

/** Files that hold no rows, by their endings: some are too large to look for rows in them. */
const noAnswers =
  /\.(?:csv|tsv|md|ya?ml|log|sh|py|safetensors|bin|pt|npy|npz|png|pdf|gz|zip|partial|begun|tmp)$|(?:^|[/\\])events\.out\./i;

/**
 * The files to score: a file stands for itself, a folder for the `.jsonl` files named after a set in it and in the
 * folders right below it; where these have none, in the folders further below, as a sweep has them. A folder without such a file
 * stands for its output.jsonl, if that is of a set that is scored.
 *
 * Source: the glob of eval_commonsense.py, which looks one folder below only.
 * @throws {UserError} unless `leave` is given: if a path is missing or holds no rows, or a folder has no such file
 */
export const findAnswerFiles = async (
  paths: readonly string[],
  leave?: Leave,
): Promise<readonly string[]> => {
  const refuse = leave ?? throwFault;
  const found = new Set<string>();
  for (const path of paths.map(normalize)) {
    const entry = await lookAt(path).catch((error: unknown) => {
      const fault = new UserError(`Cannot score ${path}: ${messageOf(error)}`);
      refuse(path, accessFault(error), fault);
    });
    if (!entry) continue;
    if (!entry.isDirectory()) {
      if (!noAnswers.test(path)) {
        found.add(path);
        continue;
      }
      const reason = describeUnfit(path, false, "");
      const fault = `Cannot score ${path}: found ${reason}, expected rows with context, pred and gt`;
      refuse(path, reason, new UserError(fault, "Evaluation files are .jsonl files"));
      continue;
    }
    const unanswered = (folder: string): UserError =>
      new UserError(
        `Cannot score ${folder}: found no .jsonl file named after one of ${scoredSets.join(", ")}, and no output.jsonl of such a run`,
        "Name the files themselves; one whose name has no set needs --dataset",
      );
    const holds = async (folder: string): Promise<boolean> => (await answersIn(folder)).length > 0;
    const near = [path, ...(await foldersIn(path))];
    const nearFiles = await Promise.all(near.map(answersIn));
    const folders = nearFiles.some((files) => files.length > 0)
      ? near
      : await foldersThat(holds, path);
    const files = (await Promise.all(folders.map(answersIn))).flat();
    if (files.length === 0)
      refuse(path, describeUnfit(path, true, "no answers named after a set"), unanswered(path));
    else if (leave)
      for (const [i, folder] of near.entries())
        if (i > 0 && nearFiles[i]?.length === 0 && folders === near && isRunFolder(folder))
          leave(folder, "no answers named after a set", unanswered(folder));
    for (const file of files.sort()) found.add(file);
  }
  return [...found];
};
