import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomically } from "../core/atomic-file.js";
import { requireNewFiles } from "../core/new-file.js";
import { UserError } from "../core/errors.js";
import { pythonRandom } from "../core/mersenne-twister.js";
import { readRecords, throwFaults } from "./read-records.js";
import { splits } from "./rows.js";
import type { Split } from "./rows.js";

/** What `hira data split` has written. */
export interface SplitResult {
  /** The files written, and how many rows each has. */
  readonly files: Readonly<Record<Split, { readonly path: string; readonly rows: number }>>;
}

/**
 * The authors' do_train_val_test_split.py: shuffles a file's rows, holds the last ones out and writes three files.
 *
 * The rows held out become validation.json **and** test.json, the others train.json. The order is that of Python's
 * random.seed(seed) and random.shuffle, so the same file gives the same rows as the authors' script. The files have
 * the bytes of Python's json.dump(rows, file, indent=4).
 * @param holdOut rows held out
 * @param overwrite whether files of other rows that are there may be replaced
 * @throws {UserError} if one of the files is there with other rows, the input is missing or broken, a row has no `input`, or there are not more rows than held out
 */
export const splitCommonsense = async ({
  input,
  outFolder,
  seed = 58,
  holdOut = 120,
  overwrite = false,
}: {
  readonly input: string;
  readonly outFolder: string;
  readonly seed?: number;
  readonly holdOut?: number;
  readonly overwrite?: boolean;
}): Promise<SplitResult> => {
  const { records } = await readRecords(input);
  throwFaults(
    input,
    records.flatMap(({ place, value }) =>
      "input" in value
        ? []
        : [`${place}: found fields ${Object.keys(value).join(", ")}, expected input among them`],
    ),
    'Every row needs an "input", which may be empty',
  );
  if (!(Number.isInteger(holdOut) && holdOut > 0 && records.length > holdOut))
    throw new UserError(
      `Cannot hold ${String(holdOut)} rows out of ${input}: found ${String(records.length)} rows`,
      "Hold out at least one row and leave at least one for training",
    );
  const rows = records.map(({ value }) => value);
  pythonRandom(seed).shuffle(rows);
  const heldOut = rows.slice(-holdOut);
  const bySplit: Readonly<Record<Split, readonly unknown[]>> = {
    train: rows.slice(0, -holdOut),
    validation: heldOut,
    test: heldOut,
  };
  const pathOf = (split: Split): string => join(outFolder, `${split}.json`);
  const texts = new Map(splits.map((split) => [pathOf(split), pythonIndented(bySplit[split])]));
  await requireNewFiles([...texts.keys()], {
    flag: "--out",
    overwrite:
      overwrite ||
      (async (path) =>
        (await readFile(path, "utf8")) === texts.get(path) || "found a file of other rows there"),
  });
  for (const [path, text] of texts) await writeFileAtomically(path, text);
  const fileOf = (split: Split): { path: string; rows: number } => ({
    path: pathOf(split),
    rows: bySplit[split].length,
  });
  return {
    files: { train: fileOf("train"), validation: fileOf("validation"), test: fileOf("test") },
  };
};

/**
 * json.dumps(value, indent=4): JSON.stringify lays out the same way, but leaves characters outside ASCII as they are.
 *
 * A number such as 1.0 comes out as 1: JavaScript does not tell them apart. The sets have strings alone.
 */
const pythonIndented = (value: unknown): string =>
  JSON.stringify(value, undefined, 4).replace(
    /[\u007f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
