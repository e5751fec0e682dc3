import { join } from "node:path";
import {
  dialogueBeams,
  findRecordFile,
  fourBeams,
  namesOf,
  type DatasetFamily,
  type DatasetMember,
} from "./family.js";
import { readInstructionRows } from "./llm-adapters.js";
import { readTextPairs, type PairFields } from "./text-pairs.js";
import { templates } from "./templates.js";

const shared = {
  maxContextTokens: 155,
  maxNewTokens: 200,
  ownValidation: false,
  evaluationBatchDivisor: 4,
} as const;

/** GSM8K's own marks of the calculator, `<<48/2=24>>`. */
const calculatorMarks = /<<[^<>]*>>/g;

/**
 * A solution as GSM8K publishes it, without the calculator's marks and with the phrase behind it that the scorer looks for.
 *
 * `48/2 = <<48/2=24>>24\n#### 24` becomes `48/2 = 24\n#### 24\nThe answer is: 24`, as MetaMathQA has it.
 */
export const gsm8kSolution = (answer: string): string => {
  const text = answer.replaceAll(calculatorMarks, "");
  const number = /#### *(\S+)\s*$/.exec(text)?.[1];
  return number === undefined ? text : `${text.trimEnd()}\nThe answer is: ${number}`;
};

const metaMath: DatasetMember = {
  ...shared,
  folder: "meta_math",
  template: templates[0],
  decoding: dialogueBeams,
};

const metaMathForms: readonly PairFields[] = [
  { context: "sQuestion", target: "lSolutions" },
  { context: "query", target: "response" },
];
const gsm8kForm: PairFields = { context: "question", target: "answer", targetOf: gsm8kSolution };

/**
 * Word problems: MetaMath (sQuestion, lSolutions, or MetaMathQA's own query, response) and GSM8K (LLM-Adapters' instruction, output, or its
 * own question, answer).
 *
 * Source: Yu et al., "MetaMath", ICLR 2024; Cobbe et al., arXiv 2110.14168; lengths of the HiRA authors' format_inputs.py.
 */
export const math = {
  members: {
    meta_math: metaMath,
    gsm8k: {
      ...shared,
      folder: "llm_adapt/gsm8k",
      template: templates[4],
      decoding: fourBeams,
    },
  },
  load: async (member, split, { root, useInput }) => {
    const path = await findRecordFile(join(root, member.folder), namesOf({}, split), split);
    return member === metaMath
      ? readTextPairs(path, metaMathForms)
      : readInstructionRows(path, useInput, gsm8kForm);
  },
} as const satisfies DatasetFamily;
