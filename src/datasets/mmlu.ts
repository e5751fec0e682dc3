import { join } from "node:path";
import { describeJson } from "../core/json.js";
import { findRecordFile, greedy, namesOf, type DatasetFamily } from "./family.js";
import { readInstructionRows } from "./llm-adapters.js";
import { readRecords, throwFaults, type DataRecord } from "./read-records.js";
import type { LoadedRows, Row } from "./rows.js";
import { templates } from "./templates.js";

/** The answers' letters, in the order of a row's choices. */
export const choiceLetters = ["A", "B", "C", "D"] as const;
/** The letter of one of four choices. */
export type ChoiceLetter = (typeof choiceLetters)[number];

/** The Hub's training rows are called auxiliary_train; without them there are the five of each subject in dev. */
const stems = {
  train: ["train", "auxiliary_train", "dev"],
  validation: ["validation", "val"],
} as const;

interface Question {
  readonly subject: string;
  readonly question: string;
  readonly choices: readonly string[];
  readonly letter: ChoiceLetter;
}

/**
 * The prompt of a question, without examples:
 *
 *     The following are multiple choice questions (with answers) about abstract algebra.
 *
 *     <question>
 *     A. <choice>
 *     B. ...
 *     Answer:
 *
 * Source: the words are those of Hendrycks et al., "Measuring Massive Multitask Language Understanding", ICLR 2021, evaluate.py of
 * hendrycks/test, for one question. Template 7 puts nothing between prompt and letter.
 */
export const questionText = ({ subject, question, choices }: Omit<Question, "letter">): string => {
  const about = subject === "" ? "" : ` about ${subject.replaceAll("_", " ")}`;
  return [
    `The following are multiple choice questions (with answers)${about}.\n`,
    question.trim(),
    ...choices.map((choice, i) => `${choiceLetters[i] ?? ""}. ${choice}`),
    "Answer:",
  ].join("\n");
};

/** A letter, or the number of a choice from 0, as the Hub has it. */
const letterOf = (answer: unknown): ChoiceLetter | undefined =>
  typeof answer === "number"
    ? choiceLetters[answer]
    : choiceLetters.find((letter) => typeof answer === "string" && letter === answer.trim());

/** The question of a row, or what is wrong with it. */
const questionOfRecord = (value: DataRecord["value"]): Question | string => {
  const { subject = "", question, choices, answer } = value;
  if (typeof question !== "string")
    return `found ${describeJson(question)} in question, expected text`;
  if (typeof subject !== "string")
    return `found ${describeJson(subject)} in subject, expected text`;
  if (!Array.isArray(choices) || choices.length !== 4)
    return `found ${Array.isArray(choices) ? `${String(choices.length)} choices` : `${describeJson(choices)} in choices`}, expected four`;
  const wrong = choices.findIndex((choice) => typeof choice !== "string");
  if (wrong >= 0)
    return `found ${describeJson(choices[wrong])} in choices[${String(wrong)}], expected text`;
  const letter = letterOf(answer);
  if (letter === undefined)
    return `found ${JSON.stringify(answer) ?? "nothing"} in answer, expected A, B, C, D, or a number from 0 to 3`;
  return { subject, question, choices: choices as string[], letter };
};

const readQuestions = async (path: string, useInput: boolean): Promise<LoadedRows> => {
  const file = await readRecords(path);
  if (file.records[0] && "instruction" in file.records[0].value)
    return readInstructionRows(path, useInput);
  const faults: string[] = [];
  const rows = file.records.flatMap(({ place, value }): Row[] => {
    // The Hub's auxiliary_train has its rows one level down.
    const { train } = value;
    const inner =
      typeof train === "object" && train !== null ? (train as DataRecord["value"]) : value;
    const question = questionOfRecord(inner);
    if (typeof question !== "string")
      return [{ context: questionText(question), target: question.letter }];
    faults.push(`${place}: ${question}`);
    return [];
  });
  throwFaults(
    path,
    faults,
    'A row is {"subject", "question", "choices": [four texts], "answer": a letter or 0 to 3}, or {"instruction", "output"}',
  );
  return { rows, droppedInputs: [], path, sha256: file.sha256 };
};

/**
 * MMLU: { subject, question, choices, answer } as published, or rows of { instruction, output } whose output is a letter.
 *
 * Source: Hendrycks et al., ICLR 2021; lengths of the HiRA authors' format_inputs.py. They took ready-made rows, which are not published.
 */
export const mmlu = {
  members: {
    mmlu: {
      folder: "mmlu",
      template: templates[7],
      maxContextTokens: 512,
      maxNewTokens: 1,
      ownValidation: false,
      evaluationBatchDivisor: 4,
      decoding: greedy,
      answers: "letters",
    },
  },
  stems,
  load: async ({ folder }, split, { root, useInput }) =>
    readQuestions(
      await findRecordFile(join(root, folder), namesOf({ stems }, split), split),
      useInput,
    ),
} as const satisfies DatasetFamily;
