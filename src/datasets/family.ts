import { access } from "node:fs/promises";
import { join } from "node:path";
import { UserError } from "../core/errors.js";
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

/** One data set: where it lies, and the original's figures for it. Lengths in tokens. */
export interface DatasetMember {
  /** Under the data root. */
  readonly folder: string;
  readonly template: Template;
  /** Of the context, BOS included. */
  readonly maxContextTokens: number;
  /** Of the target in training, and of the answer in decoding. */
  readonly maxNewTokens: number;
  /** False: the set comes without a validation file, and the original reads test.json instead. */
  readonly ownValidation: boolean;
  /** Evaluation and decoding take max(1, floor(--batch / this)) rows at a time. */
  readonly evaluationBatchDivisor: 1 | 4;
  readonly decoding: DecodingDefaults;
}

/** The sets that share a form. */
export interface DatasetFamily {
  readonly members: Readonly<Record<string, DatasetMember>>;
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

/** The path of `<folder>/<stem>` with the first of the known endings that is there, or undefined if none is. */
export const recordFileIfThere = async (
  folder: string,
  stem: string,
): Promise<string | undefined> => {
  for (const ending of recordFileEndings) {
    const path = join(folder, `${stem}${ending}`);
    const isThere = await access(path).then(
      () => true,
      () => false,
    );
    if (isThere) return path;
  }
  return undefined;
};

/**
 * As recordFileIfThere, but the file has to be there.
 *
 * @throws {UserError} if it is not
 */
export const findRecordFile = async (folder: string, stem: string): Promise<string> => {
  const path = await recordFileIfThere(folder, stem);
  if (path !== undefined) return path;
  const names = recordFileEndings.map((ending) => stem + ending).join(", ");
  throw new UserError(
    `Cannot find the ${stem} rows in ${folder}: found none of ${names}`,
    "Put the file there, or choose another data folder with --data_dir or HIRA_DATA_DIR",
  );
};
