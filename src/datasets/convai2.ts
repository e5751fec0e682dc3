import { join } from "node:path";
import { readTextFile } from "../core/text-file.js";
import {
  dialogueBeams,
  findRecordFile,
  namesOf,
  type DatasetFamily,
  type FileNames,
} from "./family.js";
import { readInstructionRows } from "./llm-adapters.js";
import { throwFaults } from "./read-records.js";
import type { LoadedRows, Row } from "./rows.js";
import { templates } from "./templates.js";

/** ParlAI's names: the bot's own persona as first written, or as revised, with candidate replies or without. */
const parlaiNames = (part: "train" | "valid"): readonly string[] =>
  ["self_original", "self_revised", "both_original", "both_revised"].flatMap((form) => [
    `${part}_${form}_no_cands`,
    `${part}_${form}`,
  ]);

/** ParlAI has no test rows: those of its challenge were never published, and valid is what everybody reports on. */
const stems = {
  train: ["train", ...parlaiNames("train")],
  validation: ["validation", ...parlaiNames("valid")],
  test: ["test", ...parlaiNames("valid")],
} as const;
const endings = [".txt", ".txt.gz"] as const;

const numbered = /^(\d+) (.*)$/;
const persona = /^(your|partner's) persona:\s*(.*)$/;

/**
 * The rows of ParlAI's text, one a turn that has a reply: `P: facts. Q: user R: bot Q: user R: ` and the reply as target.
 *
 * An episode begins at line number 1. `your persona:` lines are the bot's facts, joined by spaces; `partner's persona:` lines are the
 * user's, which a bot does not see. A turn is `user<TAB>reply`, and where there are candidates `<TAB><TAB>a|b|c` behind it.
 * Source: the ConvAI2 task of ParlAI; the marks are those of the HiRA authors' rows.
 * @throws {UserError} with every line that is not so
 */
export const parseParlaiText = (
  text: string,
  path: string,
): { readonly rows: readonly Row[]; readonly dialogueOfRow: readonly number[] } => {
  const rows: Row[] = [];
  const dialogueOfRow: number[] = [];
  const faults: string[] = [];
  let [dialogue, facts, turns] = [-1, [] as string[], ""];
  let beganAt = 0;
  let rowsBefore = 0;
  const endDialogue = (): void => {
    if (dialogue >= 0 && rows.length === rowsBefore)
      faults.push(
        `line ${String(beganAt)}: found a dialogue without a turn, expected one at least`,
      );
    rowsBefore = rows.length;
  };
  for (const [i, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === "") continue;
    const place = `line ${String(i + 1)}`;
    const [, number, content = ""] = numbered.exec(line) ?? [];
    if (number === undefined) {
      faults.push(
        `${place}: found no number at its start, expected one, as in "1 your persona: ..."`,
      );
      continue;
    }
    if (number === "1") {
      endDialogue();
      dialogue++;
      [facts, turns, beganAt] = [[], "", i + 1];
    }
    const [, whose, fact = ""] = persona.exec(content) ?? [];
    if (whose !== undefined) {
      if (whose === "your") facts.push(fact.trim());
      continue;
    }
    const [user = "", reply = ""] = content.split("\t");
    if (reply.trim() === "") {
      faults.push(`${place}: found no reply, expected a turn, a tab and its reply`);
      continue;
    }
    turns += ` Q: ${user.trim()} R: `;
    rows.push({
      context: (facts.length > 0 ? `P: ${facts.join(" ")}` : "") + turns,
      target: reply.trim(),
    });
    dialogueOfRow.push(Math.max(0, dialogue));
    turns += reply.trim();
  }
  endDialogue();
  throwFaults(
    path,
    faults,
    "ParlAI's files have a number at the start of every line, and a tab between turn and reply",
  );
  return { rows: rows.map((row) => ({ ...row, context: row.context.trimStart() })), dialogueOfRow };
};

const readParlai = async (path: string): Promise<LoadedRows> => {
  const { text, sha256 } = await readTextFile(path);
  const { rows, dialogueOfRow } = parseParlaiText(text, path);
  throwFaults(path, rows.length === 0 ? ["line 1: found no dialogue, expected at least one"] : []);
  const count = (dialogueOfRow.at(-1) ?? -1) + 1;
  return {
    rows,
    records: { count, ofRow: dialogueOfRow },
    droppedInputs: [],
    path,
    sha256,
  };
};

/**
 * ConvAI2: the authors' rows of { instruction, output }, or ParlAI's text files as they are published.
 *
 * Source: Dinan et al., "ConvAI2", 2019; lengths of the HiRA authors' format_inputs.py.
 */
export const convai2 = {
  members: {
    convai2: {
      folder: "convai2",
      template: templates[0],
      maxContextTokens: 512,
      maxNewTokens: 32,
      ownValidation: true,
      evaluationBatchDivisor: 4,
      decoding: dialogueBeams,
    },
  },
  stems,
  endings,
  load: async ({ folder }, split, { root, useInput }) => {
    const names: FileNames = namesOf({ stems, endings }, split);
    const path = await findRecordFile(join(root, folder), names, split);
    return /\.txt(\.gz)?$/.test(path) ? readParlai(path) : readInstructionRows(path, useInput);
  },
} as const satisfies DatasetFamily;
