import { basename, dirname, join } from "node:path";
import type { Compat } from "../core/compat.js";
import { UserError } from "../core/errors.js";
import { isJsonObject } from "../core/json.js";
import { isDatasetFile } from "../datasets/registry.js";
import { findAnswerFiles, type Leave } from "./answer-files.js";
import {
  averageScores,
  commonsenseNames,
  isCommonsenseName,
  scoreRows,
  type AverageScore,
  type CommonsenseName,
  type SetScore,
} from "./commonsense.js";
import { describeLeftOut, describeUnfit, type LeftOut } from "./find-runs.js";
import { readAnswers } from "./read-answers.js";
import { scorers, type ScorerName } from "./registry.js";
import type { Answer, Scored, TextEncoder } from "./scorer.js";
import { isScoredSet, scoredSets, scorerNameOf, setOfFileName, type ScoredSet } from "./sets.js";

/** How files are to be scored. */
export interface ScoreRequest {
  /** The set of files, whatever their names tell. */
  readonly set?: ScoredSet | undefined;
  /** The scorer, whatever the set. */
  readonly metric?: ScorerName | undefined;
  readonly compat?: Compat;
  readonly dataDir?: string | undefined;
  readonly wordnet?: string | undefined;
  /** Of --bert_model. */
  readonly encoder?: TextEncoder | undefined;
}

/** A file of answers with what its scorer says of it. */
export interface ScoredFile {
  readonly path: string;
  /** Undefined where --metric alone says how to score. */
  readonly set: ScoredSet | undefined;
  readonly scorer: ScorerName;
  /** The path without the set's name: the same for all sets of one run. */
  readonly model: string;
  /** The first two lines, parsed: the flags and the adapter's configuration. */
  readonly header: readonly unknown[];
  readonly answers: readonly Answer[];
  readonly scored: Scored;
}

/** A file of answers to a commonsense set with its result. */
export interface FileScore extends Pick<ScoredFile, "path" | "model" | "header"> {
  readonly set: CommonsenseName;
  readonly score: SetScore;
}

/** Line 3 of an mmlu file has the accuracy as the run has counted it. */
const checkThird = (third: unknown, { figures }: Scored): readonly string[] => {
  const counted = isJsonObject(third) ? third["acc"] : undefined;
  const accuracy = figures.find(({ key }) => key === "acc")?.value;
  if (typeof counted !== "number" || accuracy === undefined) return [];
  return Math.abs(counted - accuracy) < 1e-6
    ? []
    : [`line 3 of the file says ${counted.toFixed(2)} %, its rows ${accuracy.toFixed(2)} %`];
};

/**
 * Scores one file: its rows are the objects that have `context`.
 *
 * Answers to a person's own file have the scorer of texts. The set is the request's, else the one in the file's name, else the `dataset` of the flags on its first line; the scorer is the
 * request's, else the set's.
 * @throws {UserError} naming the line that is not JSON or lacks a text; if no set is known, or no row is there
 */
export const scoreAnswers = async (
  path: string,
  { set, metric, compat = new Set(), ...resources }: ScoreRequest = {},
): Promise<ScoredFile> => {
  const { header, third, answers, remarks } = await readAnswers(path, compat);
  const named = setOfFileName(path);
  const flags = header[0];
  const trainedOn = isJsonObject(flags) ? flags["dataset"] : undefined;
  const chosen = set ?? named ?? (isScoredSet(trainedOn) ? trainedOn : undefined);
  const isOwn = typeof trainedOn === "string" && isDatasetFile(trainedOn);
  const scorer = metric ?? (chosen ? scorerNameOf(chosen) : isOwn ? "text" : undefined);
  if (scorer === undefined)
    throw new UserError(
      `Cannot score ${path}: found no set in its name or first line, expected one of ${scoredSets.join(", ")}`,
      "Say which with --dataset, or how to score it with --metric",
    );
  if (answers.length === 0)
    throw new UserError(
      `Cannot score ${path}: found no rows, expected objects with context, pred and gt`,
      "Evaluation files are written by hira --ckpt DIR --dataset SET",
    );
  const model =
    named === undefined ? path : join(dirname(path), basename(path).replaceAll(named, ""));
  const scored = await scorers[scorer].score(answers, { set: chosen, compat, ...resources });
  const said = [...scored.remarks, ...remarks, ...checkThird(third, scored)];
  return {
    ...{ path, set: chosen, scorer, model, header, answers },
    scored: { ...scored, remarks: said },
  };
};

/** The row of the commonsense table that a file gives; undefined for files that were scored in another way. */
export const commonsenseScore = (
  { path, set, scorer, model, header, answers }: ScoredFile,
  compat: Compat = new Set(),
): FileScore | undefined =>
  scorer === "commonsense" && isCommonsenseName(set)
    ? { path, set, model, header, score: scoreRows(set, answers, compat) }
    : undefined;

/**
 * Scores what is to be scored among the given paths, see findAnswerFiles; the rest is left out.
 *
 * @throws {UserError} if nothing is left
 */
export const scoreFound = async (
  paths: readonly string[],
  request: ScoreRequest = {},
): Promise<{ readonly files: readonly ScoredFile[]; readonly leftOut: readonly LeftOut[] }> => {
  const leftOut: LeftOut[] = [];
  const faults: UserError[] = [];
  const leave: Leave = (path, reason, fault) => {
    leftOut.push({ path, reason });
    faults.push(fault);
  };
  const files: ScoredFile[] = [];
  for (const path of await findAnswerFiles(paths, leave)) {
    try {
      files.push(await scoreAnswers(path, request));
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      const named =
        request.set !== undefined ||
        request.metric !== undefined ||
        setOfFileName(path) !== undefined;
      leave(path, named ? error.message : describeUnfit(path, false, ""), error);
    }
  }
  const [fault] = faults;
  if (files.length === 0 && fault !== undefined)
    throw faults.length === 1
      ? fault
      : new UserError(
          `Cannot score: found ${describeLeftOut(leftOut)}, expected evaluation files or folders of them`,
          "Evaluation files are written by hira --ckpt DIR --dataset SET",
        );
  return { files, leftOut };
};

/** One row of the results' table: the commonsense sets of one run, decoded one way. */
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
