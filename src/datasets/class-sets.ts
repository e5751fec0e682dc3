import { join } from "node:path";
import { findRecordFile, recordFileIfThere } from "./family.js";
import { readRecords, type RecordFile } from "./read-records.js";
import type { Split } from "./rows.js";

/** A set of texts with classes. */
interface ClassSet {
  /** Under the data root. */
  readonly folder: string;
  /** The names of the classes, by number. */
  readonly labels: readonly string[];
  /** The names that a split's file may have, without ending. */
  readonly stems: Readonly<Record<Split, readonly string[]>>;
}

/**
 * Sentences and reviews of films, negative (0) or positive (1).
 *
 * SST-2's published test rows have no labels: its validation rows are tested on. IMDB comes without validation rows.
 * Source: Socher et al., EMNLP 2013, as GLUE has it (tsv: sentence, label); Maas et al., ACL 2011 (rows of text, label).
 */
export const classSets = {
  sst2: {
    folder: "sst2",
    labels: ["negative", "positive"],
    stems: { train: ["train"], validation: ["validation", "dev"], test: ["validation", "dev"] },
  },
  imdb: {
    folder: "imdb",
    labels: ["negative", "positive"],
    stems: { train: ["train"], validation: ["validation"], test: ["test"] },
  },
} as const satisfies Readonly<Record<string, ClassSet>>;

/** A data set of texts with classes, as --dataset names it. */
export type ClassSetName = keyof typeof classSets;

/** All data sets of texts with classes. */
export const classSetNames = Object.keys(classSets) as readonly ClassSetName[];

/** Whether --dataset names a set of texts with classes. */
export const isClassSetName = (name: string): name is ClassSetName =>
  (classSetNames as readonly string[]).includes(name);

/** A split of a set, and whether its rows are those that are tested on at the end. */
export interface ClassSplit {
  readonly file: RecordFile;
  readonly isTest: boolean;
}

/**
 * A split of a set; where it has no validation rows of its own, its test rows.
 *
 * @throws {UserError} if the file is missing or broken
 */
export const readClassSplit = async (
  name: ClassSetName,
  split: Split,
  root: string,
): Promise<ClassSplit> => {
  const { folder, stems } = classSets[name];
  const at = join(root, folder);
  const own = await recordFileIfThere(at, { stems: stems[split] });
  const test = await recordFileIfThere(at, { stems: stems.test });
  const path =
    own ??
    (split === "validation" ? test : undefined) ??
    (await findRecordFile(at, { stems: stems[split] }, split));
  return { file: await readRecords(path), isTest: path === test };
};
