import { join } from "node:path";
import { findRecordFile, fourBeams, greedy } from "./family.js";
import type { DatasetFamily, DatasetMember } from "./family.js";
import { readRecords, stringFields } from "./read-records.js";
import type { LoadedRows } from "./rows.js";
import { templates } from "./templates.js";

const short = { template: templates[4], maxContextTokens: 256, maxNewTokens: 16 } as const;

/** A set of its own train and test file, read as validation too. */
const subset = (folder: string): DatasetMember => ({
  folder: `llm_adapt/${folder}`,
  ...short,
  ownValidation: false,
  evaluationBatchDivisor: 4,
  decoding: fourBeams,
});

/** The rows of a file of { instruction, output }: the target without white space around it, the context as it stands. */
export const readInstructionRows = async (path: string): Promise<LoadedRows> => {
  const file = await readRecords(path);
  const rows = stringFields(file, ["instruction", "output"]).map(({ instruction, output }) => ({
    context: instruction,
    target: output.trim(),
  }));
  return { rows, path, sha256: file.sha256 };
};

/**
 * LLM-Adapters' commonsense sets: <folder>/<split>.json (or .jsonl, either with .gz) of { instruction, output }; see readRecords.
 *
 * Source: Hu et al., "LLM-Adapters", EMNLP 2023; lengths of the HiRA authors' format_inputs.py.
 * @throws {UserError} if the file is missing or not JSON, or a row lacks a field
 */
export const llmAdapters = {
  members: {
    common_170k: {
      folder: "llm_adapt/commonsense_170k",
      ...short,
      ownValidation: true,
      evaluationBatchDivisor: 1,
      decoding: greedy,
    },
    boolq: subset("boolq"),
    piqa: subset("piqa"),
    siqa: subset("social_i_qa"),
    hellas: subset("hellaswag"),
    winog: subset("winogrande"),
    arce: subset("ARC-Easy"),
    arcc: subset("ARC-Challenge"),
    obqa: subset("openbookqa"),
  },
  load: async ({ folder }, split, root) =>
    readInstructionRows(await findRecordFile(join(root, folder), split)),
} as const satisfies DatasetFamily;
