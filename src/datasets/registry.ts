import { didYouMean, UserError } from "../core/errors.js";
import type { DatasetFamily, DatasetMember } from "./family.js";
import { classSetNames, isClassSetName } from "./class-sets.js";
import { convai2 } from "./convai2.js";
import { dailydialog } from "./dailydialog.js";
import { e2e } from "./e2e.js";
import { llmAdapters } from "./llm-adapters.js";
import { math } from "./math.js";
import { mmlu } from "./mmlu.js";
import { samsum } from "./samsum.js";
import { isTextSetName, textSetNames } from "./wikitext.js";

/** Every name that the original's --dataset takes, in its order. */
export const datasetNames = [
  "e2e_nlg",
  "dailydialog",
  "samsum",
  "e2e_cleaned",
  "boolq",
  "mmlu",
  "common_170k",
  "gsm8k",
  "piqa",
  "siqa",
  "hellas",
  "winog",
  "arce",
  "arcc",
  "obqa",
  "convai2",
  "meta_math",
  "common_all",
] as const;
/** A data set that --dataset names. */
export type DatasetName = (typeof datasetNames)[number];

/** A data set with the family that reads it. */
export interface Dataset {
  readonly kind: "set";
  readonly name: DatasetName;
  readonly member: DatasetMember;
  readonly family: DatasetFamily;
}

/** Several sets in turn, for evaluation only. */
export interface DatasetGroup {
  readonly kind: "group";
  readonly name: DatasetName;
  readonly members: readonly DatasetName[];
}

const setOf = <Family extends DatasetFamily>(
  family: Family,
  name: keyof Family["members"] & DatasetName,
): Dataset => {
  const member = family.members[name];
  if (!member) throw new RangeError(`found no member ${name}, expected one`);
  return { kind: "set", name, member, family };
};

const registry: Readonly<Record<DatasetName, Dataset | DatasetGroup>> = {
  e2e_nlg: setOf(e2e, "e2e_nlg"),
  dailydialog: setOf(dailydialog, "dailydialog"),
  samsum: setOf(samsum, "samsum"),
  e2e_cleaned: setOf(e2e, "e2e_cleaned"),
  boolq: setOf(llmAdapters, "boolq"),
  mmlu: setOf(mmlu, "mmlu"),
  common_170k: setOf(llmAdapters, "common_170k"),
  gsm8k: setOf(math, "gsm8k"),
  piqa: setOf(llmAdapters, "piqa"),
  siqa: setOf(llmAdapters, "siqa"),
  hellas: setOf(llmAdapters, "hellas"),
  winog: setOf(llmAdapters, "winog"),
  arce: setOf(llmAdapters, "arce"),
  arcc: setOf(llmAdapters, "arcc"),
  obqa: setOf(llmAdapters, "obqa"),
  convai2: setOf(convai2, "convai2"),
  meta_math: setOf(math, "meta_math"),
  common_all: {
    kind: "group",
    name: "common_all",
    members: ["boolq", "piqa", "siqa", "hellas", "winog", "arce", "arcc", "obqa"],
  },
};

/** Every name that --dataset takes. */
const knownNames: readonly string[] = [...datasetNames, ...textSetNames, ...classSetNames];

const isDatasetName = (name: string): name is DatasetName =>
  (datasetNames as readonly string[]).includes(name);

/** Whether --dataset names a file of rows, of token ids or of text, instead of a known set. */
export const isDatasetFile = (name: string): boolean =>
  /\.(?:(?:jsonl?|csv|tsv)(?:\.gz)?|parquet)$/.test(name);

/** Whether a --dataset has rows that are answered in words: running text, files and rows with classes are not. */
export const hasAnswers = (name: string): boolean =>
  !isTextSetName(name) && !isDatasetFile(name) && !isClassSetName(name);

/**
 * What a name of --dataset stands for.
 *
 * @throws {UserError} if the name is unknown
 */
export const findDataset = (name: string): Dataset | DatasetGroup => {
  if (isTextSetName(name))
    throw new UserError(
      `Cannot use --dataset ${name} here: found running text, expected rows with answers`,
      `Train on it, or measure it with hira perplexity --dataset=${name}`,
    );
  if (isClassSetName(name))
    throw new UserError(
      `Cannot use --dataset ${name} here: found texts with labels, expected rows with answers`,
      `Train a classifier on it with hira train --dataset=${name}, or test one with --ckpt`,
    );
  if (!isDatasetName(name))
    throw new UserError(
      `Cannot use --dataset ${JSON.stringify(name)}: expected one of ${knownNames.join(", ")}, or a file of rows: .json, .jsonl, .csv, .tsv or .parquet`,
      didYouMean(name, knownNames),
    );
  return registry[name];
};

/**
 * As findDataset, for commands that work on one set.
 *
 * @throws {UserError} also if the name stands for several sets
 */
export const findSingleDataset = (name: string): Dataset => {
  const found = findDataset(name);
  if (found.kind === "set") return found;
  throw new UserError(
    `Cannot train on --dataset ${name}: it stands for ${found.members.join(", ")}, expected one set`,
    "Use it with --ckpt, for evaluation; to train on all of them, use common_170k",
  );
};
