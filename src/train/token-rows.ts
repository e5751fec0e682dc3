import type { Vocabulary } from "../core/unknown-tokens.js";
import type { EncodedRow } from "../datasets/encoded-rows.js";
import { keepRatio } from "../datasets/load-split.js";
import { readPreTokenized, type PreTokenizedSet } from "../datasets/pre-tokenized.js";
import type { DataSettings } from "./loaded-data.js";
import { holdOutShare, refuseTextFlags, validationShare } from "./own-texts.js";

/** Rows of token ids that serve one purpose. */
export interface TokenSplit {
  readonly path: string;
  readonly rows: readonly EncodedRow[];
  /** Their numbers in the file; undefined for all of it. */
  readonly numbers: readonly number[] | undefined;
}

/** A file of token ids, and what validates: a share of it, or another file. */
export interface TokenSplits {
  readonly train: TokenSplit;
  readonly validation: TokenSplit | undefined;
  /** What was read, with --dataset_ratio's share of the rows. */
  readonly sets: readonly PreTokenizedSet[];
}

/**
 * The rows of a --dataset of token ids, and of its --validation.
 *
 * @throws {UserError} if a file is missing or broken, has tokens that the vocabulary lacks, or a flag asks for texts
 */
export const readTokenSplits = async (
  settings: Pick<
    DataSettings,
    "validation" | "datasetRatio" | "promptField" | "targetField" | "template" | "maxLength"
  >,
  path: string,
  vocabulary: Vocabulary,
): Promise<TokenSplits> => {
  refuseTextFlags(settings, `token ids in ${path}, which are taken as they are`);
  const { validation, datasetRatio } = settings;
  const read = async (file: string): Promise<PreTokenizedSet> => {
    const set = await readPreTokenized(file, vocabulary);
    return { ...set, rows: keepRatio(set.rows, datasetRatio, file) };
  };
  const set = await read(path);
  const share = validationShare(validation);
  if (share !== undefined) {
    const held = holdOutShare(set.rows.length, share, path);
    const split = (numbers: readonly number[]): TokenSplit => ({
      path,
      numbers,
      rows: numbers.flatMap((row) => set.rows[row] ?? []),
    });
    return { train: split(held.train), validation: split(held.validation), sets: [set] };
  }
  const whole = (of: PreTokenizedSet, file: string): TokenSplit => ({
    path: file,
    rows: of.rows,
    numbers: undefined,
  });
  const train = whole(set, path);
  if (validation === undefined) return { train, validation: undefined, sets: [set] };
  const other = await read(validation);
  return { train, validation: whole(other, validation), sets: [set, other] };
};
