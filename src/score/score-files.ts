import { basename, dirname, join } from "node:path";
import type { Compat } from "../core/compat.js";
import { UserError } from "../core/errors.js";
import { readJsonValues } from "../core/json-values.js";
import { describeJson, isJsonObject } from "../core/json.js";
import { findAnswerFiles, setOfFileName, type Leave } from "./answer-files.js";
import {
  averageScores,
  commonsenseNames,
  isCommonsenseName,
  scoreRows,
  type AnsweredRow,
  type AverageScore,
  type CommonsenseName,
  type SetScore,
} from "./commonsense.js";
import { describeLeftOut, describeUnfit, type LeftOut } from "./find-runs.js";

/** A file of answers with its result. */
export interface FileScore {
  readonly path: string;
  readonly set: CommonsenseName;
  /** The path without the set's name: the same for all sets of one run. */
  readonly model: string;
  readonly score: SetScore;
  /** The first two lines, parsed: the flags and the adapter's configuration. */
  readonly header: readonly unknown[];
}

const textField = (path: string, place: string, row: Record<string, unknown>, field: string) => {
  const value = row[field];
  if (typeof value === "string") return value;
  throw new UserError(
    `Cannot score ${path}, ${place}: found ${describeJson(value)} in ${field}, expected text`,
    "Rows need the fields context, pred and gt",
  );
};

/**
 * Scores one file: its rows are the objects that have `context`.
 *
 * The set is `set`, else the one in the file's name, else the `dataset` of the flags on its first line.
 * @throws {UserError} naming the line that is not JSON or lacks a text; if no set is known, or no row is there
 */
export const scoreFile = async (
  path: string,
  { set, compat = new Set() }: { readonly set?: CommonsenseName; readonly compat?: Compat } = {},
): Promise<FileScore> => {
  const header: unknown[] = [];
  const rows: AnsweredRow[] = [];
  for (const { place, value } of (await readJsonValues(path)).values) {
    if (header.length < 2) header.push(value);
    if (!isJsonObject(value) || !("context" in value)) continue;
    rows.push({
      pred: textField(path, place, value, "pred"),
      gt: textField(path, place, value, "gt"),
    });
  }
  const named = setOfFileName(path);
  const flags = header[0];
  const trainedOn = isJsonObject(flags) ? flags["dataset"] : undefined;
  const chosen = set ?? named ?? (isCommonsenseName(trainedOn) ? trainedOn : undefined);
  if (chosen === undefined)
    throw new UserError(
      `Cannot score ${path}: found no set in its name or first line, expected one of ${commonsenseNames.join(", ")}`,
      "Say which with --dataset",
    );
  if (rows.length === 0)
    throw new UserError(
      `Cannot score ${path}: found no rows, expected objects with context, pred and gt`,
      "Evaluation files are written by hira --ckpt DIR --dataset SET",
    );
  const model =
    named === undefined ? path : join(dirname(path), basename(path).replaceAll(named, ""));
  return { path, set: chosen, model, score: scoreRows(chosen, rows, compat), header };
};

/**
 * Scores what is to be scored among the given paths, see findAnswerFiles; the rest is left out.
 *
 * @throws {UserError} if nothing is left
 */
export const scoreFound = async (
  paths: readonly string[],
  options: { readonly set?: CommonsenseName; readonly compat?: Compat } = {},
): Promise<{ readonly scores: readonly FileScore[]; readonly leftOut: readonly LeftOut[] }> => {
  const leftOut: LeftOut[] = [];
  const faults: UserError[] = [];
  const leave: Leave = (path, reason, fault) => {
    leftOut.push({ path, reason });
    faults.push(fault);
  };
  const scores: FileScore[] = [];
  for (const path of await findAnswerFiles(paths, leave)) {
    try {
      scores.push(await scoreFile(path, options));
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      const named = options.set !== undefined || setOfFileName(path) !== undefined;
      leave(path, named ? error.message : describeUnfit(path, false, ""), error);
    }
  }
  const [fault] = faults;
  if (scores.length === 0 && fault !== undefined)
    throw faults.length === 1
      ? fault
      : new UserError(
          `Cannot score: found ${describeLeftOut(leftOut)}, expected evaluation files or folders of them`,
          "Evaluation files are written by hira --ckpt DIR --dataset SET",
        );
  return { scores, leftOut };
};

/** One row of the results' table: the sets of one run, decoded one way. */
export interface RunScore {
  /** The files' path without the set's name. */
  readonly model: string;
  readonly sets: Readonly<Partial<Record<CommonsenseName, FileScore>>>;
  readonly average: AverageScore;
}

/** Files of one run side by side: one entry a run, in the order in which the runs first come. */
export const groupRuns = (
  files: readonly FileScore[],
  compat: Compat = new Set(),
): readonly RunScore[] => {
  const runs = new Map<string, Partial<Record<CommonsenseName, FileScore>>>();
  for (const file of files) {
    const sets = runs.get(file.model) ?? {};
    sets[file.set] = file;
    runs.set(file.model, sets);
  }
  return [...runs].map(([model, sets]) => ({
    model,
    sets,
    average: averageScores(
      commonsenseNames.flatMap((name) => sets[name]?.score ?? []),
      compat,
    ),
  }));
};
