import { createHash } from "node:crypto";
import type { Answer } from "../../src/score/scorer.js";

const rows = 600;
const words =
  "the a kettle lamp ladder harp drum shed attic porch hall is was stands lies in on under near old small red blue well-kept U.S. Dr. 3.5 1,000 50% don't it's \"quoted\" (maybe) café naïve 屋根 — and but who says so , . ! ? : one two".split(
    " ",
  );

/** A linear congruential generator of 32 bits; each draw takes its upper half. */
const draws = (seed: number): ((most: number) => number) => {
  let state = seed;
  return (most) => {
    state = (state * 1664525 + 1013904223) % 2 ** 32;
    return Math.floor(state / 2 ** 16) % most;
  };
};

const word = (below: (most: number) => number): string => words[below(words.length)] ?? "";

const disturbed = (text: string, below: (most: number) => number): string => {
  if (below(20) === 0) return "";
  const kept: string[] = [];
  for (const each of text.split(" ")) {
    const draw = below(100);
    if (draw < 15) continue;
    kept.push(draw < 25 ? word(below) : each);
    if (draw > 95) kept.push(each);
  }
  return kept.join(" ");
};

/** Rows of contexts that have so many references each, by the rule of scripts/reference/score_rows.py. */
export const madeUpTexts = (seed: number, references: number): readonly Answer[] => {
  const below = draws(seed);
  return Array.from({ length: rows / references }, (_, item) => {
    const gts = Array.from({ length: references }, () =>
      Array.from({ length: 5 + below(16) }, () => word(below)).join(" "),
    );
    const pred = disturbed(gts[below(references)] ?? "", below);
    return gts.map((gt) => ({ context: `item ${String(item)}`, pred, gt }));
  }).flat();
};

const subjects = ["abstract algebra", "anatomy", "world religions", "virology"];
const forms = [
  ...["{}", " {}.", "The answer is {}", "({})", "{}{}"],
  ...["", "b", "{} or not", "Answer:{}", "x{}"],
];

/** Rows of multiple choice, by the same rule. */
export const madeUpLetters = (seed: number): readonly Answer[] => {
  const below = draws(seed);
  const letter = (): string => "ABCD".charAt(below(4));
  return Array.from({ length: rows }, (_, item) => {
    const subject = subjects[below(subjects.length)] ?? "";
    const gt = letter();
    const said = below(2) === 0 ? gt : letter();
    const pred = (forms[below(forms.length)] ?? "").replaceAll("{}", said);
    return {
      context: `The following are multiple choice questions (with answers) about ${subject}.\n\nQuestion ${String(item)}?\nAnswer:`,
      ...{ pred, gt },
    };
  });
};

/** Whether two programs have made the same rows. */
export const digestOfAnswers = (answers: readonly Answer[]): string =>
  createHash("sha256")
    .update(answers.map(({ context, pred, gt }) => [context, pred, gt].join("\t")).join("\n"))
    .digest("hex");
