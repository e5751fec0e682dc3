import { didYouMean, UserError } from "../core/errors.js";
import type { DatasetFamily, DatasetMember } from "./family.js";
import { llmAdapters } from "./llm-adapters.js";

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

const comesLater = { kind: "later" } as const;

const llmAdaptersSet = (name: keyof typeof llmAdapters.members): Dataset => ({
  kind: "set",
  name,
  member: llmAdapters.members[name],
  family: llmAdapters,
});

const registry: Readonly<Record<DatasetName, Dataset | DatasetGroup | typeof comesLater>> = {
  e2e_nlg: comesLater,
  dailydialog: comesLater,
  samsum: comesLater,
  e2e_cleaned: comesLater,
  boolq: llmAdaptersSet("boolq"),
  mmlu: comesLater,
  common_170k: llmAdaptersSet("common_170k"),
  gsm8k: comesLater,
  piqa: llmAdaptersSet("piqa"),
  siqa: llmAdaptersSet("siqa"),
  hellas: llmAdaptersSet("hellas"),
  winog: llmAdaptersSet("winog"),
  arce: llmAdaptersSet("arce"),
  arcc: llmAdaptersSet("arcc"),
  obqa: llmAdaptersSet("obqa"),
  convai2: comesLater,
  meta_math: comesLater,
  common_all: {
    kind: "group",
    name: "common_all",
    members: ["boolq", "piqa", "siqa", "hellas", "winog", "arce", "arcc", "obqa"],
  },
};

/** The names whose data can be read today, in the order of `datasetNames`. */
export const readyDatasetNames: readonly DatasetName[] = datasetNames.filter(
  (name) => registry[name].kind !== "later",
);

const isDatasetName = (name: string): name is DatasetName =>
  (datasetNames as readonly string[]).includes(name);

/** Whether --dataset names a file of pre-tokenized rows instead of a known set. */
export const isPreTokenizedName = (name: string): boolean => /\.jsonl?(\.gz)?$/.test(name);

/**
 * What a name of --dataset stands for.
 *
 * @throws {UserError} if the name is unknown, or the set is not built yet
 */
export const findDataset = (name: string): Dataset | DatasetGroup => {
  if (!isDatasetName(name))
    throw new UserError(
      `Cannot use --dataset ${JSON.stringify(name)}: expected one of ${datasetNames.join(", ")}, or a .json or .jsonl file of token ids`,
      didYouMean(name, datasetNames),
    );
  const entry = registry[name];
  if (entry.kind !== "later") return entry;
  throw new UserError(
    `Cannot use --dataset ${name} yet: it comes in a later version`,
    `Ready now: ${readyDatasetNames.join(", ")}`,
  );
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
