import type { Compat } from "../core/compat.js";
import { UserError } from "../core/errors.js";
import { wilsonInterval, z95, type Interval } from "./intervals.js";
import type { Scorer } from "./scorer.js";
import { shareFigure } from "./share.js";

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

/** A commonsense set, as --dataset names it. */
export type CommonsenseName = keyof typeof commonsenseSets;

/** The eight commonsense sets, in the order of commonsenseSets. */
export const commonsenseNames = Object.keys(commonsenseSets) as readonly CommonsenseName[];

/** Whether a value is the name of a commonsense set. */
export const isCommonsenseName = (name: unknown): name is CommonsenseName =>
  typeof name === "string" && (commonsenseNames as readonly string[]).includes(name);

/**
 * The first of the set's words in a text, wherever it stands and in this very case; "" where there is none.
 *
 * Source: extract_answer of eval_commonsense.py.
 */
export const extractAnswer = (set: CommonsenseName, text: string): string =>
  new RegExp(commonsenseSets[set].words.join("|")).exec(text)?.[0] ?? "";

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

/** The mean over sets, in percent. */
export interface AverageScore {
  readonly accuracy: number;
  readonly interval: Interval;
  /** How many sets it is over; fewer than eight do not compare with the paper's. */
  readonly sets: number;
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

/** The first word of the set in pred against that in gt: eval_commonsense.py. */
export const commonsense: Scorer = {
  summary: "the first of the set's words in pred against that in gt",
  main: ["acc"],
  columns: ["acc"],
  async score(answers, { set, compat }) {
    if (!isCommonsenseName(set))
      throw new UserError(
        `Cannot score as commonsense: found no set, expected one of ${commonsenseNames.join(", ")}`,
        "Say which with --dataset",
      );
    const pairs = answers.map(({ pred, gt }) => ({
      answer: extractAnswer(set, pred),
      truth: extractAnswer(set, gt),
    }));
    const right = pairs.map(
      ({ answer, truth }) => answer === truth && (answer !== "" || compat.has("scorer")),
    );
    return {
      rows: answers.length,
      items: answers.length,
      figures: [shareFigure("acc", "accuracy", right)],
      counts: {
        "no answer": pairs.filter(({ answer }) => answer === "").length,
        "no true answer": pairs.filter(({ truth }) => truth === "").length,
      },
      groups: [],
      remarks: [],
    };
  },
};
