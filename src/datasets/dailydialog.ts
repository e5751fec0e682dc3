import { join } from "node:path";
import { describeJson } from "../core/json.js";
import { dialogueBeams, findRecordFile, namesOf, type DatasetFamily } from "./family.js";
import { readRecords, throwFaults } from "./read-records.js";
import type { LoadedRows, Row } from "./rows.js";
import { templates } from "./templates.js";

/**
 * The rows of one dialogue: every utterance but the first is a target, those before it its context.
 *
 * Marks are built back from the target: the utterance before it has `Q: `, the one before that `R: `, and so on. Utterances are
 * stripped of white space and joined by a space.
 */
export const rowsOfDialogue = (utterances: readonly string[]): readonly Row[] =>
  utterances.slice(1).map((target, i) => ({
    context: utterances
      .slice(0, i + 1)
      .map((utterance, at) => `${(i - at) % 2 === 0 ? "Q: " : "R: "}${utterance.trim()}`)
      .join(" "),
    target: target.trim(),
  }));

/** The utterances of a row's `dialog`, or what is wrong with it. */
const utterancesOf = (value: Readonly<Record<string, unknown>>): readonly string[] | string => {
  // The Hub's newer copies call it so.
  const dialog = value.dialog ?? value.utterances;
  if (dialog === undefined)
    return `found fields ${Object.keys(value).join(", ")}, expected dialog among them`;
  if (!Array.isArray(dialog)) return `found ${describeJson(dialog)} in dialog, expected an array`;
  const wrong = dialog.findIndex((utterance) => typeof utterance !== "string");
  if (wrong >= 0)
    return `found ${describeJson(dialog[wrong])} in dialog[${String(wrong)}], expected text`;
  const utterances = dialog as readonly string[];
  if (utterances.length < 2)
    return `found ${utterances.length === 0 ? "an empty dialog" : "a dialog of one utterance"}, expected at least two utterances, of which the second answers the first`;
  const blank = utterances.findIndex((utterance) => utterance.trim() === "");
  return blank < 0
    ? utterances
    : `found nothing in dialog[${String(blank)}], expected an utterance`;
};

const readDialogues = async (path: string): Promise<LoadedRows> => {
  const file = await readRecords(path);
  const rows: Row[] = [];
  const ofRow: number[] = [];
  const faults: string[] = [];
  for (const [record, { place, value }] of file.records.entries()) {
    const utterances = utterancesOf(value);
    if (typeof utterances === "string") {
      faults.push(`${place}: ${utterances}`);
      continue;
    }
    for (const row of rowsOfDialogue(utterances)) {
      rows.push(row);
      ofRow.push(record);
    }
  }
  throwFaults(
    path,
    faults,
    'A row is {"dialog": ["...", "...", ...]}: mend these rows, or take them out',
  );
  const records = { count: file.records.length, ofRow };
  return { rows, records, droppedInputs: [], path, sha256: file.sha256 };
};

/**
 * DailyDialog: { dialog }, a list of utterances by two speakers in turn.
 *
 * Source: Li et al., "DailyDialog", IJCNLP 2017; the marks are those of the HiRA authors' dataset_hg.py, the lengths of their format_inputs.py.
 */
export const dailydialog = {
  members: {
    dailydialog: {
      folder: "dailydialog",
      template: templates[0],
      maxContextTokens: 256,
      maxNewTokens: 32,
      ownValidation: true,
      evaluationBatchDivisor: 4,
      decoding: dialogueBeams,
    },
  },
  load: async ({ folder }, split, { root }) =>
    readDialogues(await findRecordFile(join(root, folder), namesOf({}, split), split)),
} as const satisfies DatasetFamily;
