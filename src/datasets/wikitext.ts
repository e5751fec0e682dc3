import { access } from "node:fs/promises";
import { join } from "node:path";
import { UserError } from "../core/errors.js";
import { readTextFile, type TextFile } from "../core/text-file.js";
import type { Split } from "./rows.js";

/** A set that is running text, for language modelling. */
export interface TextSet {
  /** Under the data root. */
  readonly folder: string;
  /** What follows `wiki.train.`. */
  readonly ending: "tokens" | "raw";
}

/**
 * WikiText-2 as words with <unk> for the rare ones, and its text as it was.
 *
 * Source: Merity et al., "Pointer Sentinel Mixture Models", 2016; the names are those of the files in its archives.
 */
export const textSets = {
  wikitext2: { folder: "wikitext-2", ending: "tokens" },
  wikitext2_raw: { folder: "wikitext-2-raw", ending: "raw" },
} as const satisfies Readonly<Record<string, TextSet>>;

/** A data set of running text, as --dataset names it. */
export type TextSetName = keyof typeof textSets;

/** All data sets of running text. */
export const textSetNames = Object.keys(textSets) as readonly TextSetName[];

/** Whether --dataset names a set of running text. */
export const isTextSetName = (name: string): name is TextSetName =>
  (textSetNames as readonly string[]).includes(name);

const stems = { train: "train", validation: "valid", test: "test" } as const;

/**
 * A split of WikiText-2, <folder>/wiki.<train|valid|test>.<tokens|raw>, plain or packed with gzip.
 *
 * @throws {UserError} if the file is missing, is not text, or is empty
 */
export const readTextSplit = async (
  name: TextSetName,
  split: Split,
  root: string,
): Promise<TextFile & { readonly path: string }> => {
  const { folder, ending } = textSets[name];
  const file = `wiki.${stems[split]}.${ending}`;
  for (const path of [file, `${file}.gz`].map((each) => join(root, folder, each))) {
    const isThere = await access(path).then(
      () => true,
      () => false,
    );
    if (!isThere) continue;
    const found = await readTextFile(path);
    if (found.text.trim() !== "") return { ...found, path };
    throw new UserError(`Cannot use ${path}: found no text, expected a split of WikiText-2`);
  }
  throw new UserError(
    `Cannot find the ${split} text of ${name}: found neither ${file} nor ${file}.gz in ${join(root, folder)}`,
    "Fetch it with hira data fetch wikitext2, or choose another data folder with --data_dir or HIRA_DATA_DIR",
  );
};
