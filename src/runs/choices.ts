import { UserError } from "../core/errors.js";
import { listRows } from "../core/row-names.js";
import type { Row } from "../datasets/rows.js";
import { commonsenseSets, extractAnswer, type CommonsenseName } from "../score/commonsense.js";

/**
 * What is compared: an answer in the form of the set's targets, or its own text as it stands in the question; "-joint": encoded in one piece with
 * the prompt, as lm-evaluation-harness does.
 */
export const choiceForms = ["words", "texts", "words-joint", "texts-joint"] as const;
/** A form in which answers are compared; see choiceForms. */
export type ChoiceForm = (typeof choiceForms)[number];

/** Whether prompt and answer are encoded in one piece. */
export const isJoint = (form: ChoiceForm): boolean => form.endsWith("-joint");

/** One answer to a row. */
export interface Choice {
  /** The word that the scorer looks for: answer2. */
  readonly word: string;
  /** What the model's likelihood is asked of. */
  readonly text: string;
  /** The answer in the form of a target: what generation would have written. */
  readonly answer: string;
}

/** The words of a row's last line `Answer format: answer1/answer2`, which has as many as the row has answers; else the set's. */
const wordsOf = (set: CommonsenseName, { context }: Row): readonly string[] => {
  const listed = /Answer format:\s*(\S+)\s*$/.exec(context)?.[1]?.split("/") ?? [];
  const known = commonsenseSets[set].words as readonly string[];
  return listed.length > 1 && listed.every((word) => known.includes(word)) ? listed : known;
};

/** The texts that stand in a question behind `Answer1:`, `Answer2:` and so on; undefined where one is missing. */
const textsOf = (words: readonly string[], { context }: Row): readonly string[] | undefined => {
  const end = context.lastIndexOf("Answer format:");
  const asked = end < 0 ? context : context.slice(0, end);
  const marks: { readonly from: number; readonly to: number }[] = [];
  for (const word of [...words].reverse()) {
    const mark = `${word.charAt(0).toUpperCase()}${word.slice(1)}:`;
    // From the end: a question may speak of answers too.
    const from = asked.lastIndexOf(mark, (marks[0]?.from ?? asked.length) - 1);
    if (from < 0) return undefined;
    marks.unshift({ from, to: from + mark.length });
  }
  const texts = marks.map(({ to }, i) => asked.slice(to, marks[i + 1]?.from).trim());
  return texts.includes("") ? undefined : texts;
};

/**
 * The answers to each row of a set.
 *
 * An answer has the form of the row's own target, with its word in place of the right one. Of boolq, whose answers have no texts
 * of their own, "texts" are the words true and false.
 * @throws {UserError} naming the rows in which a text is not found
 */
export const choicesOf = (
  set: CommonsenseName,
  rows: readonly Row[],
  { form, path }: { readonly form: ChoiceForm; readonly path: string },
): readonly (readonly Choice[])[] => {
  const without: number[] = [];
  const found = rows.map((row, i) => {
    const words = wordsOf(set, row);
    const truth = extractAnswer(set, row.target);
    const target = truth === "" ? "the correct answer is " : row.target;
    const answerOf = (word: string): string =>
      truth === "" ? target + word : target.replace(truth, () => word);
    const texts = form.startsWith("words")
      ? words.map(answerOf)
      : set === "boolq"
        ? words
        : textsOf(words, row);
    if (!texts) without.push(i);
    return words.map((word, at): Choice => ({
      word,
      text: texts?.[at] ?? "",
      answer: answerOf(word),
    }));
  });
  if (without.length > 0)
    throw new UserError(
      `Cannot compare the texts of answers in ${path}: found ${String(without.length)} rows without a text behind each mark (${listRows(without)}), expected "Answer1: ... Answer2: ..." as LLM-Adapters writes it`,
      "--choices=words compares the answers by their words",
    );
  return found;
};
