import { join } from "node:path";
import { listRows } from "../core/row-names.js";
import { dialogueBeams, findRecordFile, namesOf, type DatasetFamily } from "./family.js";
import { templates } from "./templates.js";
import { readTextPairs } from "./text-pairs.js";

/** The authors' archive calls its validation file val.json. */
const stems = { validation: ["validation", "val"] } as const;

/**
 * SAMSum: messenger dialogues and their summaries, { dialogue, summary }.
 *
 * One dialogue of its train file is empty; such rows stay, and are told.
 * Source: Gliwa et al., "SAMSum Corpus", 2019; lengths of the HiRA authors' format_inputs.py.
 */
export const samsum = {
  members: {
    samsum: {
      folder: "samsum",
      template: templates[0],
      maxContextTokens: 256,
      maxNewTokens: 40,
      ownValidation: true,
      evaluationBatchDivisor: 4,
      decoding: dialogueBeams,
    },
  },
  stems,
  load: async ({ folder }, split, { root }) => {
    const path = await findRecordFile(join(root, folder), namesOf({ stems }, split), split);
    const loaded = await readTextPairs(path, [{ context: "dialogue", target: "summary" }]);
    const empty = loaded.rows.flatMap(({ context }, row) => (context.trim() === "" ? [row] : []));
    return empty.length === 0
      ? loaded
      : {
          ...loaded,
          remarks: [`${String(empty.length)} dialogues are empty (${listRows(empty)})`],
        };
  },
} as const satisfies DatasetFamily;
