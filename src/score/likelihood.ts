import { userErrorOfFaults } from "../core/errors.js";
import { readJsonLines } from "../core/json-lines.js";
import { isJsonObject } from "../core/json.js";
import { readPredictionRows } from "../report/output-jsonl.js";
import { extractAnswer, type CommonsenseName } from "./commonsense.js";
import { wilsonInterval, type Interval } from "./intervals.js";

/** What a sum of log-probabilities is divided by before answers are compared. */
export const normalizations = ["sum", "token", "byte", "character"] as const;
/** A divisor of log-probabilities; see normalizations. */
export type Normalization = (typeof normalizations)[number];

/** The likelihoods of a row's answers, one each. */
export interface Likelihoods {
  /** The words that the scorer looks for: answer2. */
  readonly words: readonly string[];
  /** log p of each answer behind the prompt, natural. */
  readonly logProbs: readonly number[];
  readonly tokens: readonly number[];
  /** UTF-8. */
  readonly bytes: readonly number[];
  /** Code points; undefined in files that were written before these were counted. */
  readonly characters?: readonly number[] | undefined;
}

/**
 * Which answer has the highest log p, divided as `by` says; of equal ones the first.
 *
 * Source: acc, acc_bytes and acc_norm (by characters) of lm-evaluation-harness (process_results of multiple_choice).
 */
export const likeliest = (
  { logProbs, tokens, bytes, characters }: Omit<Likelihoods, "words">,
  by: Normalization,
): number => {
  const divisors = { sum: undefined, token: tokens, byte: bytes, character: characters }[by];
  const scores = logProbs.map((logProb, i) => logProb / (divisors?.[i] ?? 1));
  return scores.indexOf(Math.max(...scores));
};

/** A row of a file of answers by likelihood. */
export interface LikelihoodRow extends Likelihoods {
  readonly context: string;
  readonly gt: string;
}

const isListOf = (kind: "string" | "number", value: unknown, length?: number): boolean =>
  Array.isArray(value) &&
  value.length > 0 &&
  (length === undefined || value.length === length) &&
  value.every((item) => typeof item === kind);

/**
 * The rows of a file that --scoring=loglik has written.
 *
 * @throws {UserError} if a row lacks a field
 */
export const readLikelihoodRows = async (path: string): Promise<readonly LikelihoodRow[]> => {
  const rows: LikelihoodRow[] = [];
  const faults: string[] = [];
  for await (const { line, value } of readJsonLines(path)) {
    if (!isJsonObject(value) || !("context" in value)) continue;
    const { context, gt, choices, loglik, tokens, bytes, characters } = value;
    const count = Array.isArray(choices) ? choices.length : 0;
    if (
      typeof context === "string" &&
      typeof gt === "string" &&
      isListOf("string", choices) &&
      [loglik, tokens, bytes].every((list) => isListOf("number", list, count))
    )
      rows.push({
        ...{ context, gt },
        words: choices as readonly string[],
        logProbs: loglik as readonly number[],
        tokens: tokens as readonly number[],
        bytes: bytes as readonly number[],
        characters: isListOf("number", characters, count)
          ? (characters as readonly number[])
          : undefined,
      });
    else
      faults.push(
        `line ${String(line)}: found fields ${Object.keys(value).join(", ")}, expected choices, and as many numbers in loglik, tokens and bytes`,
      );
  }
  if (faults.length > 0)
    throw userErrorOfFaults(
      `Cannot read ${path} as answers by likelihood`,
      faults,
      "Move the file away to have the set answered again",
    );
  return rows;
};

/** Rows that are right, in percent of all. */
export interface Share {
  readonly right: number;
  readonly accuracy: number;
  /** Wilson's. */
  readonly interval: Interval;
}

/** The two ways to answer a set, on the same rows. */
export interface ScoringComparison {
  readonly set: CommonsenseName;
  readonly rows: number;
  /** By the word in what was written; undefined where there is no such file of these rows. */
  readonly generated: Share | undefined;
  /** By character, undefined where the file has not counted them. */
  readonly likelihood: Readonly<Record<Normalization, Share | undefined>>;
  /** Percent of the rows where the word that was written is not that of the likeliest answer by sum. */
  readonly differ: number | undefined;
}

const shareOf = (right: number, rows: number): Share => ({
  right,
  accuracy: (100 * right) / rows,
  interval: wilsonInterval(right, rows),
});

/** The first rows of a file of written answers, if it has those of `rows`; else undefined. */
const writtenAnswers = async (
  path: string | undefined,
  rows: readonly LikelihoodRow[],
): Promise<readonly string[] | undefined> => {
  if (path === undefined) return undefined;
  const written = (await readPredictionRows(path)).slice(0, rows.length);
  const isSame =
    written.length === rows.length &&
    written.every(({ context, gt }, i) => context === rows[i]?.context && gt === rows[i].gt);
  return isSame ? written.map(({ pred }) => pred) : undefined;
};

/**
 * Compares the answers of two files row by row: those by likelihood, and those that were written.
 *
 * @param files.generated undefined where there is none
 * @throws {UserError} if a file is broken
 */
export const compareScorings = async (
  set: CommonsenseName,
  files: { readonly likelihood: string; readonly generated: string | undefined },
): Promise<ScoringComparison> => {
  const rows = await readLikelihoodRows(files.likelihood);
  const truths = rows.map(({ gt }) => extractAnswer(set, gt));
  const count = (answers: readonly string[]): Share =>
    shareOf(
      answers.filter((answer, i) => answer !== "" && answer === truths[i]).length,
      rows.length,
    );
  const chosen = (by: Normalization): readonly string[] =>
    rows.map((row) => row.words[likeliest(row, by)] ?? "");
  const written = (await writtenAnswers(files.generated, rows))?.map((pred) =>
    extractAnswer(set, pred),
  );
  const bySum = chosen("sum");
  return {
    set,
    rows: rows.length,
    generated: written && count(written),
    likelihood: {
      sum: count(bySum),
      token: count(chosen("token")),
      byte: count(chosen("byte")),
      character: rows.every(({ characters }) => characters)
        ? count(chosen("character"))
        : undefined,
    },
    differ:
      written && (100 * written.filter((answer, i) => answer !== bySum[i]).length) / rows.length,
  };
};
