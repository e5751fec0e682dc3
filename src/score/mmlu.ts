import type { Scorer } from "./scorer.js";
import { shareByGroup, shareFigure } from "./share.js";

const letter = /(?<![\p{L}\p{Nd}])[A-D](?![\p{L}\p{Nd}])/u;

/** The first of the letters A to D that stands by itself; "" where there is none. */
export const letterOf = (text: string): string => letter.exec(text)?.[0] ?? "";

/** The subject that a prompt in the form of MMLU's authors names: `multiple choice questions (with answers) about anatomy.` */
export const subjectOf = (context: string): string | undefined =>
  /multiple choice questions? \(with answers?\) about +([^\n]+?)\.?\s*(?:\n|$)/i.exec(context)?.[1];

/** Letters of multiple choice: train_hira.py counts them itself, on line 3 of the file. */
export const mmlu: Scorer = {
  summary: "the letter A to D in pred against that in gt, over all rows and by subject",
  main: ["acc"],
  columns: ["acc"],
  async score(answers, { compat }) {
    const original = compat.has("scorer");
    const letters = answers.map(({ pred, gt }) =>
      original ? { answer: pred, truth: gt } : { answer: letterOf(pred), truth: letterOf(gt) },
    );
    const right = letters.map(
      ({ answer, truth }) => answer === truth && (answer !== "" || original),
    );
    const subjects = answers.map(({ context }) => subjectOf(context));
    const isNamed = subjects.some((subject) => subject !== undefined);
    return {
      rows: answers.length,
      items: answers.length,
      figures: [shareFigure("acc", "accuracy", right)],
      counts: {
        "no letter": letters.filter(({ answer }) => answer === "").length,
        "no true letter": letters.filter(({ truth }) => truth === "").length,
      },
      groups: isNamed ? shareByGroup(right, (i) => subjects[i] ?? "no subject named") : [],
      remarks: isNamed ? [] : ["no table by subject: no row names its subject"],
    };
  },
};
