import { join } from "node:path";
import { describeJson } from "../core/json.js";
import { findRecordFile, fourBeams, greedy, namesOf } from "./family.js";
import type { DatasetFamily, DatasetMember } from "./family.js";
import { readRecords, stringFields, throwFaults, type DataRecord } from "./read-records.js";
import type { LoadedRows, Row } from "./rows.js";
import { formOf, pairsOf, type PairFields } from "./text-pairs.js";
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

/** The input of an alpaca row; undefined where it is missing, null or blank. */
const inputOf = ({ value }: DataRecord): unknown => {
  const { input } = value;
  const isBlank = typeof input === "string" && input.trim() === "";
  return input === undefined || input === null || isBlank ? undefined : input;
};

/**
 * The rows of a file of { instruction, input, output }: the target without white space around it, the rest as it stands.
 *
 * The input is kept with `useInput` alone: the original drops it.
 * @param otherForm what a file may have instead, if its first row does
 */
export const readInstructionRows = async (
  path: string,
  useInput: boolean,
  otherForm?: PairFields,
): Promise<LoadedRows> => {
  const file = await readRecords(path);
  if (otherForm) {
    const form = formOf(file, [{ context: "instruction", target: "output" }, otherForm]);
    if (form === otherForm) return pairsOf(file, otherForm);
  }
  const inputs = file.records.map(inputOf);
  const rows = stringFields(file, ["instruction", "output"]).map(
    ({ instruction, output }): Row => ({ context: instruction, target: output.trim() }),
  );
  if (!useInput) {
    const droppedInputs = inputs.flatMap((input, row) => (input === undefined ? [] : [row]));
    return { rows, droppedInputs, path, sha256: file.sha256 };
  }
  throwFaults(
    path,
    inputs.flatMap((input, row) =>
      input === undefined || typeof input === "string"
        ? []
        : [
            `${file.records[row]?.place ?? ""}: found ${describeJson(input)} in input, expected text`,
          ],
    ),
    "--use_input puts a row's input into the prompt",
  );
  const withInputs = rows.map((row, i): Row => {
    const input = inputs[i];
    return typeof input === "string" ? { ...row, input } : row;
  });
  return { rows: withInputs, droppedInputs: [], path, sha256: file.sha256 };
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
  load: async ({ folder }, split, { root, useInput }) =>
    readInstructionRows(
      await findRecordFile(join(root, folder), namesOf({}, split), split),
      useInput,
    ),
} as const satisfies DatasetFamily;
