import { join } from "node:path";
import {
  dialogueBeams,
  findRecordFile,
  namesOf,
  type DatasetFamily,
  type DatasetMember,
} from "./family.js";
import { templates } from "./templates.js";
import { readTextPairs } from "./text-pairs.js";

/** The names of the authors' files, E2E's and those of its cleaned version, behind our own. */
const stems = {
  train: ["train", "trainset", "train-fixed.no-ol"],
  validation: ["validation", "devset", "devel-fixed.no-ol"],
  test: ["test", "testset_w_refs", "test-fixed"],
} as const;

const e2eSet = (folder: string): DatasetMember => ({
  folder,
  template: templates[0],
  maxContextTokens: 150,
  maxNewTokens: 40,
  ownValidation: true,
  evaluationBatchDivisor: 4,
  decoding: dialogueBeams,
});

/**
 * E2E NLG and its cleaned version: a meaning and a sentence for it, { meaning_representation, human_reference } or the authors' { mr, ref }.
 *
 * Rows of one meaning follow one another, and are its references.
 * Source: Novikova et al., "The E2E Dataset", 2017; Dusek et al., "Semantic Noise Matters", 2019; lengths of the HiRA authors' format_inputs.py.
 */
export const e2e = {
  members: { e2e_nlg: e2eSet("e2e"), e2e_cleaned: e2eSet("e2e_nlg_cleaned") },
  stems,
  load: async ({ folder }, split, { root }) =>
    readTextPairs(await findRecordFile(join(root, folder), namesOf({ stems }, split), split), [
      { context: "meaning_representation", target: "human_reference" },
      { context: "mr", target: "ref" },
    ]),
} as const satisfies DatasetFamily;
