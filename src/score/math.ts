import { existsSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../core/errors.js";
import { readJsonValues } from "../core/json-values.js";
import { isJsonObject } from "../core/json.js";
import { chooseDataRoot } from "../datasets/data-root.js";
import {
  answerNumber,
  hasPhrase,
  isSameNumber,
  lastDigits,
  lastNumber,
  originalAnswerNumber,
} from "./math-answers.js";
import type { Answer, Scored, Scorer, ScorerOptions } from "./scorer.js";
import { shareFigure } from "./share.js";

/** The true answers of GSM8K's test rows, in the file's order. */
interface TrueAnswer {
  readonly question: string;
  readonly value: number;
}

const readTrueAnswers = async (path: string): Promise<readonly TrueAnswer[]> => {
  const { values } = await readJsonValues(path);
  return values.map(({ place, value }) => {
    const answer = isJsonObject(value) ? value["answer"] : undefined;
    const question = isJsonObject(value) ? value["instruction"] : undefined;
    // Number("") is 0.
    const number = typeof answer === "string" && answer.trim() === "" ? NaN : Number(answer);
    if (typeof question !== "string" || answer === null || !Number.isFinite(number))
      throw new UserError(
        `Cannot read ${path}, ${place}: found no instruction with a number in answer, expected LLM-Adapters' form of GSM8K`,
        "Name the folder with llm_adapt/gsm8k/test.json by --data_dir",
      );
    return { question, value: number };
  });
};

const figures = (acc: readonly boolean[], newAcc: readonly boolean[]): Scored["figures"] => [
  shareFigure("acc", "last number", acc),
  shareFigure("new acc", "after the phrase", newAcc),
];

/** The original's two figures, row by row of test.json. */
const scoreAsOriginal = (
  answers: readonly Answer[],
  path: string,
  truths: readonly TrueAnswer[],
): Scored => {
  if (truths.length !== answers.length)
    throw new UserError(
      `Cannot score as metamath_eval.py: found ${String(answers.length)} rows, expected the ${String(truths.length)} of ${path}`,
      "Without --compat=scorer rows are matched by their questions",
    );
  return {
    rows: answers.length,
    items: answers.length,
    figures: figures(
      answers.map(({ pred, gt }) => lastDigits(pred) === lastDigits(gt)),
      answers.map(({ pred }, i) => originalAnswerNumber(pred) === truths[i]?.value),
    ),
    counts: {},
    groups: [],
    remarks: [`true answers: row by row of ${path}`],
  };
};

/**
 * The true answer that a row's own gt tells: what stands behind `The answer is:`, else its last number.
 *
 * GSM8K's rows in LLM-Adapters' form have a solution there that a model wrote, so test.json is asked first.
 */
const ownTruth = (gt: string): number | undefined => answerNumber(gt) ?? lastNumber(gt);

const gsm8kPath = ({ dataDir }: ScorerOptions): string =>
  join(chooseDataRoot({ dataDir }).root, "llm_adapt", "gsm8k", "test.json");

const readIfThere = async (path: string): Promise<readonly TrueAnswer[]> =>
  existsSync(path) ? readTrueAnswers(path) : [];

/** Solutions that end with a number: metamath_eval.py, mended. */
export const math: Scorer = {
  summary:
    "the number in pred against the true answer: acc takes the last number, new acc the one after the last `The answer is:`",
  main: ["acc", "new acc"],
  columns: ["acc", "new acc"],
  table: "results_gsm8k.csv",
  async score(answers, options) {
    const path = gsm8kPath(options);
    if (options.compat.has("scorer"))
      return scoreAsOriginal(answers, path, await readTrueAnswers(path));
    const known = new Map(
      (options.set === "meta_math" ? [] : await readIfThere(path)).map(({ question, value }) => [
        question.trim(),
        value,
      ]),
    );
    let matched = 0;
    const truths = answers.map(({ context, gt }) => {
      const value = known.get(context.trim());
      if (value === undefined) return ownTruth(gt);
      matched++;
      return value;
    });
    const numbers = answers.map(({ pred }) => answerNumber(pred));
    const count = (test: (answer: Answer, i: number) => boolean): number =>
      answers.filter(test).length;
    const own = answers.length - matched;
    return {
      rows: answers.length,
      items: answers.length,
      figures: figures(
        answers.map(({ pred }, i) => isSameNumber(lastNumber(pred), truths[i])),
        numbers.map((number, i) => isSameNumber(number, truths[i])),
      ),
      counts: {
        "no phrase": count(({ pred }) => !hasPhrase(pred)),
        "phrase without a number": count(
          ({ pred }, i) => hasPhrase(pred) && numbers[i] === undefined,
        ),
        "no number at all": count(({ pred }) => lastNumber(pred) === undefined),
        "no true answer": count((_, i) => truths[i] === undefined),
      },
      groups: [],
      remarks: [
        ...(matched > 0 ? [`true answers of ${String(matched)} rows: ${path}`] : []),
        ...(own > 0
          ? [
              `true answers of ${String(own)} rows: gt itself, ${known.size === 0 && options.set !== "meta_math" ? `since ${path} is not there` : "behind its `The answer is:` or its last number"}`,
            ]
          : []),
      ],
    };
  },
};
