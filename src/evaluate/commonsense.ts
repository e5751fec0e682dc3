import { readdir } from "node:fs/promises";
import { basename, dirname, join, normalize } from "node:path";
import type { Compat } from "../core/compat.js";
import { messageOf, UserError } from "../core/errors.js";
import { readJsonValues } from "../core/json-values.js";
import { describeJson, isJsonObject } from "../core/json.js";
import {
  accessFault,
  describeLeftOut,
  describeUnfit,
  foldersIn,
  foldersThat,
  isRunFolder,
  lookAt,
  type LeftOut,
} from "./find-runs.js";

interface CommonsenseSet {
  readonly title: string;
  /** The first of these in a text is its answer. */
  readonly words: readonly string[];
}

const fiveAnswers = ["answer1", "answer2", "answer3", "answer4", "answer5"] as const;

/**
 * The eight commonsense sets in the order of the paper's Table 1, with the words that count as answers.
 *
 * Source: extract_answer of eval_commonsense.py; Huang et al., "HiRA", ICLR 2025.
 */
export const commonsenseSets = {
  boolq: { title: "BoolQ", words: ["true", "false"] },
  piqa: { title: "PIQA", words: ["solution1", "solution2"] },
  siqa: { title: "SIQA", words: fiveAnswers },
  hellas: { title: "HellaS", words: ["ending1", "ending2", "ending3", "ending4"] },
  winog: { title: "WinoG", words: ["option1", "option2"] },
  arce: { title: "ARC-e", words: fiveAnswers },
  arcc: { title: "ARC-c", words: fiveAnswers },
  obqa: { title: "OBQA", words: fiveAnswers },
} as const satisfies Readonly<Record<string, CommonsenseSet>>;

export type CommonsenseName = keyof typeof commonsenseSets;

export const commonsenseNames = Object.keys(commonsenseSets) as readonly CommonsenseName[];

export const isCommonsenseName = (name: unknown): name is CommonsenseName =>
  typeof name === "string" && (commonsenseNames as readonly string[]).includes(name);

/**
 * The first of the set's words in a text, wherever it stands and in this very case; "" where there is none.
 *
 * Source: extract_answer of eval_commonsense.py.
 */
export const extractAnswer = (set: CommonsenseName, text: string): string =>
  new RegExp(commonsenseSets[set].words.join("|")).exec(text)?.[0] ?? "";

/** The standard normal's 97.5 % quantile. */
const z95 = 1.959963984540054;

/**
 * Wilson's 95 % interval of a share, in percent.
 *
 * (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)
 * Source: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 1927.
 */
export const wilsonInterval = (right: number, rows: number): Interval => {
  const p = right / rows;
  const z2 = z95 * z95;
  const center = p + z2 / (2 * rows);
  const reach = z95 * Math.sqrt((p * (1 - p)) / rows + z2 / (4 * rows * rows));
  const scale = 100 / (1 + z2 / rows);
  return {
    low: Math.max(0, (center - reach) * scale),
    high: Math.min(100, (center + reach) * scale),
  };
};

/** In percent. */
export interface Interval {
  readonly low: number;
  readonly high: number;
}

/** A set's result; shares are in percent. */
export interface SetScore {
  readonly rows: number;
  readonly right: number;
  readonly accuracy: number;
  readonly interval: Interval;
  /** Share of the rows whose `pred` holds none of the set's words. */
  readonly noAnswer: number;
  /** Number of rows whose `gt` holds none of them; they cannot be right. */
  readonly noTruth: number;
}

/** The two fields of a row that the scorer reads. */
export interface AnsweredRow {
  readonly pred: string;
  readonly gt: string;
}

/**
 * Compares the answers in `pred` and `gt`, row by row.
 *
 * A row without an answer is wrong. Under compat `scorer` it is right if `gt` has none either, as in the original.
 */
export const scoreRows = (
  set: CommonsenseName,
  rows: readonly AnsweredRow[],
  compat: Compat = new Set(),
): SetScore => {
  let [right, noAnswer, noTruth] = [0, 0, 0];
  for (const { pred, gt } of rows) {
    const answer = extractAnswer(set, pred);
    const truth = extractAnswer(set, gt);
    if (answer === truth && (answer !== "" || compat.has("scorer"))) right++;
    if (answer === "") noAnswer++;
    if (truth === "") noTruth++;
  }
  return {
    rows: rows.length,
    right,
    accuracy: (right / rows.length) * 100,
    interval: wilsonInterval(right, rows.length),
    noAnswer: (noAnswer / rows.length) * 100,
    noTruth,
  };
};

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

/** The set that a file's name tells, by the rule of eval_commonsense.py; undefined if it tells none or several. */
export const setOfFileName = (path: string): CommonsenseName | undefined => {
  const name = basename(path);
  const found = commonsenseNames.filter((set) => name.includes(set));
  return found.length === 1 ? found[0] : undefined;
};

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

const filesNamedAfterSets = async (folder: string): Promise<string[]> => {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  return entries
    .filter(({ name }) => name.endsWith(".jsonl") && setOfFileName(name) !== undefined)
    .map(({ name }) => join(folder, name));
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
 * folders right below it; where these have none, in the folders further below, as a sweep has them.
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
        `Cannot score ${folder}: found no .jsonl file named after one of ${commonsenseNames.join(", ")}`,
        "Name the files themselves; one whose name has no set needs --dataset",
      );
    const holds = async (folder: string): Promise<boolean> =>
      (await filesNamedAfterSets(folder)).length > 0;
    const near = [path, ...(await foldersIn(path))];
    const nearFiles = await Promise.all(near.map(filesNamedAfterSets));
    const folders = nearFiles.some((files) => files.length > 0)
      ? near
      : await foldersThat(holds, path);
    const files = (await Promise.all(folders.map(filesNamedAfterSets))).flat();
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

/** The mean over sets, in percent. */
export interface AverageScore {
  readonly accuracy: number;
  readonly interval: Interval;
  /** How many sets it is over; fewer than eight do not compare with the paper's. */
  readonly sets: number;
}

/** One row of the results' table: the sets of one run, decoded one way. */
export interface RunScore {
  /** The files' path without the set's name. */
  readonly model: string;
  readonly sets: Readonly<Partial<Record<CommonsenseName, FileScore>>>;
  readonly average: AverageScore;
}

/**
 * The mean of the sets' accuracies with its 95 % interval, each set weighing the same.
 *
 * The sets are independent samples, so the mean's variance is sum(p (1 - p) / n) / sets^2, with Wilson's center for p:
 * a set with all rows right still has a spread. Under compat `scorer` a missing set counts as -1.
 */
export const averageScores = (
  scores: readonly SetScore[],
  compat: Compat = new Set(),
): AverageScore => {
  const missing = compat.has("scorer") ? commonsenseNames.length - scores.length : 0;
  const sets = scores.length + missing;
  const sum = scores.reduce((total, { accuracy }) => total + accuracy, -missing);
  const variance = scores.reduce((total, { right, rows }) => {
    const p = (right + z95 ** 2 / 2) / (rows + z95 ** 2);
    return total + (p * (1 - p)) / (rows + z95 ** 2);
  }, 0);
  const accuracy = sum / sets;
  const reach = (100 * z95 * Math.sqrt(variance)) / sets;
  return {
    accuracy,
    interval: { low: Math.max(0, accuracy - reach), high: Math.min(100, accuracy + reach) },
    sets: scores.length,
  };
};

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
