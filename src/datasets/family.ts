import { access, readdir } from "node:fs/promises";
import { join } from "node:path";
import { UserError } from "../core/errors.js";
import { firstShardOf } from "./parquet-shards.js";
import { recordFileEndings } from "./read-records.js";
import type { LoadedRows, Split } from "./rows.js";
import type { Template } from "./templates.js";

/** How the original decodes a set. --beam_size and --do_sample act only where `adjustable` is true. */
export interface DecodingDefaults {
  readonly beams: number;
  readonly lengthPenalty: number;
  /** 0: no rule. */
  readonly noRepeatNgramSize: number;
  readonly adjustable: boolean;
}

/** The likeliest token at every step, whatever --beam_size says. */
export const greedy: DecodingDefaults = {
  beams: 1,
  lengthPenalty: 1,
  noRepeatNgramSize: 0,
  adjustable: false,
};
/** 4 beams; temperature 0.1, top-p 0.75 and top-k 40 act only with --do_sample. */
export const fourBeams: DecodingDefaults = {
  beams: 4,
  lengthPenalty: 1,
  noRepeatNgramSize: 0,
  adjustable: true,
};

/** Dialogue, summaries, descriptions and MetaMath: fixed, whatever the flags. */
export const dialogueBeams: DecodingDefaults = {
  beams: 4,
  lengthPenalty: 0.9,
  noRepeatNgramSize: 4,
  adjustable: false,
};

/** One data set: where it lies, and the original's figures for it. Lengths in tokens. */
export interface DatasetMember {
  /** Under the data root. */
  readonly folder: string;
  readonly template: Template;
  /** Of the context, BOS included. The original cuts the whole row at it where the template is in one piece. */
  readonly maxContextTokens: number;
  /** Of the answer in decoding; of the target in training, see trainingTargetTokens. */
  readonly maxNewTokens: number;
  /** False: the set comes without a validation file, and the original reads test.json instead. */
  readonly ownValidation: boolean;
  /** Evaluation and decoding take max(1, floor(--batch / this)) rows at a time. */
  readonly evaluationBatchDivisor: 1 | 4;
  readonly decoding: DecodingDefaults;
  /** "letters": the original compares the logits of A, B, C and D instead of decoding, unless --decoding=greedy is given. */
  readonly answers?: "letters";
}

/** The sets that share a form. */
export interface DatasetFamily {
  readonly members: Readonly<Record<string, DatasetMember>>;
  /** The names that a split's file may have, without ending, in order; the split's own if absent. */
  readonly stems?: Partial<Readonly<Record<Split, readonly string[]>>>;
  /** Endings that the family reads besides those of readRecords. */
  readonly endings?: readonly string[];
  /**
   * @param place.useInput whether a row's input is kept
   * @throws {UserError} if the file is missing or not JSON, or a row lacks a field
   */
  load(
    member: DatasetMember,
    split: Split,
    place: { readonly root: string; readonly useInput: boolean },
  ): Promise<LoadedRows>;
}

/** What a file is looked for by: its names without ending, and endings besides those of readRecords. */
export interface FileNames {
  readonly stems: readonly string[];
  readonly endings?: readonly string[] | undefined;
}

/** The names that a family's file of a split may have. */
export const namesOf = (
  { stems, endings }: Pick<DatasetFamily, "stems" | "endings">,
  split: Split,
): FileNames => ({ stems: stems?.[split] ?? [split], endings });

/** Where the Hub's data sets have their Parquet files, and how they call them. */
const hubFolders = ["", "data", "main", "all"] as const;

/**
 * The path of `<folder>/<stem><ending>` for the first name that is there, or undefined if none is: first by stem, then by ending.
 *
 * Behind them, Parquet as the Hub serves it: `<stem>-00000-of-00001.parquet`, or the first of several shards, in the folder or in `data`,
 * `main` or `all` below it.
 */
export const recordFileIfThere = async (
  folder: string,
  { stems, endings = [] }: FileNames,
): Promise<string | undefined> => {
  const names = stems.flatMap((stem) =>
    [...recordFileEndings, ...endings].map((ending) => stem + ending),
  );
  for (const name of names) {
    const path = join(folder, name);
    const isThere = await access(path).then(
      () => true,
      () => false,
    );
    if (isThere) return path;
  }
  const inHubFolders = await Promise.all(
    hubFolders.map(async (below) => {
      const path = join(folder, below);
      return { path, files: await readdir(path).catch((): string[] => []) };
    }),
  );
  for (const stem of stems)
    for (const { path, files } of inHubFolders) {
      const shard = firstShardOf(files, stem);
      if (shard !== undefined) return join(path, shard);
    }
  return undefined;
};

/**
 * As recordFileIfThere, but the file has to be there.
 *
 * @throws {UserError} if it is not
 */
export const findRecordFile = async (
  folder: string,
  names: FileNames,
  split: Split,
): Promise<string> => {
  const path = await recordFileIfThere(folder, names);
  if (path !== undefined) return path;
  const endings = [...recordFileEndings, ...(names.endings ?? [])];
  const [first = split, ...others] = names.stems;
  const looked = [
    ...endings.map((ending) => first + ending),
    ...others.map((stem) => `${stem} with one of these endings`),
  ].join(", ");
  throw new UserError(
    `Cannot find the ${split} rows in ${folder}: found none of ${looked}`,
    "Put the file there, or choose another data folder with --data_dir or HIRA_DATA_DIR",
  );
};
