import { UserError } from "../core/errors.js";
import { checkRows, type CheckedSplit } from "../datasets/check-rows.js";
import { readClassRows } from "../datasets/class-rows.js";
import { classSets, isClassSetName, readClassSplit } from "../datasets/class-sets.js";
import { resolveDataRoot } from "../datasets/data-root.js";
import { encodeClassRows } from "../datasets/encode-classes.js";
import { keepRatio } from "../datasets/load-split.js";
import { readRecords, type RecordFile } from "../datasets/read-records.js";
import type { Split } from "../datasets/rows.js";
import { tokenCacheFolder } from "../tokenizer/token-cache.js";
import { classLength } from "../train/class-data.js";
import { unknownTokensOfRows } from "../train/known-tokens.js";
import { holdOutShare, validationShare } from "../train/own-texts.js";
import {
  withFaults,
  type CheckCoder,
  type CheckDataOptions,
  type CheckedData,
} from "./checked-data.js";

const layout = { kind: "right-padded" } as const;

/** The files of a run's splits; of a set without validation rows, its test rows serve as both. */
const openFiles = async ({
  dataset,
  dataDir,
  validation,
}: CheckDataOptions): Promise<Partial<Record<Split, RecordFile>>> => {
  if (!isClassSetName(dataset)) {
    const isFile = validation !== undefined && validationShare(validation) === undefined;
    return {
      train: await readRecords(dataset),
      ...(isFile && { validation: await readRecords(validation) }),
    };
  }
  const root = await resolveDataRoot({ dataDir });
  const open = async (split: Split): Promise<RecordFile> =>
    (await readClassSplit(dataset, split, root)).file;
  return {
    train: await open("train"),
    validation: await open("validation"),
    test: await open("test"),
  };
};

/**
 * Looks at the rows of a set or a file with classes as a run would get them: what is cut, rows that repeat each other, labels.
 *
 * @throws {UserError} on broken files and labels, and where training would stop before it looks at single rows
 */
export const checkClasses = async (
  { tokenizer, vocabulary, positions }: CheckCoder,
  options: CheckDataOptions,
): Promise<CheckedData> => {
  const { dataset, datasetRatio, batch } = options;
  if (!tokenizer && options.maxLength !== undefined)
    throw new UserError(
      "Cannot use --max_length: found no model, expected one whose tokenizer makes tokens of the rows",
      "Name it with --model",
    );
  const maxLength = tokenizer && classLength(options, positions ?? Number.MAX_SAFE_INTEGER);
  const files = await openFiles(options);
  if (!files.train) throw new RangeError("Cannot check a set: it has no training rows");
  const names = isClassSetName(dataset) ? classSets[dataset].labels : undefined;
  const train = readClassRows(files.train, names ? { names } : {});
  const { labels } = train;
  const found: Partial<Record<Split, CheckedSplit>> = {};
  const check = async (
    { path }: RecordFile,
    { rows }: Pick<typeof train, "rows">,
    numbers: readonly number[],
  ): Promise<CheckedSplit> => {
    const kept = numbers.flatMap((row) => rows[row] ?? []);
    const shared = {
      ...{ path, numbers },
      keys: kept.map(({ text, pair, label }) => ({
        context: pair === undefined ? text : `${text}\n\n${pair}`,
        target: labels[label] ?? "",
      })),
    };
    if (!tokenizer || maxLength === undefined) return shared;
    const encoded = await encodeClassRows(rows, {
      ...{ tokenizer, maxLength, numbers },
      encoding: { cacheFolder: tokenCacheFolder() },
    });
    const placeOf = new Map(numbers.map((row, place) => [row, place]));
    return {
      ...shared,
      encoded: {
        ...{ rows: encoded.rows, cutContexts: [], unlabelled: [] },
        cutTargets: encoded.cut.flatMap((row) => placeOf.get(row) ?? []),
        wholeLengths: encoded.wholeLengths.map((length) => ({ context: length, target: 0 })),
      },
    };
  };
  const all = keepRatio(
    train.rows.map((_, row) => row),
    datasetRatio,
    files.train.path,
  );
  const share = isClassSetName(dataset) ? undefined : validationShare(options.validation);
  const held = share === undefined ? undefined : holdOutShare(all.length, share, files.train.path);
  found.train = await check(files.train, train, held?.train ?? all);
  if (held) found.validation = await check(files.train, train, held.validation);
  for (const split of ["validation", "test"] as const) {
    const file = files[split];
    if (!file) continue;
    const classes = readClassRows(file, { known: labels });
    const numbers = classes.rows.map((_, row) => row);
    const kept = split === "test" ? numbers : keepRatio(numbers, datasetRatio, file.path);
    found[split] = await check(file, classes, kept);
  }
  const checked = checkRows(found, { batch, layout, rowLimit: maxLength, hasClasses: true });
  const counts = labels.map((name, i) => {
    const rows = train.rows.filter(({ label }) => label === i).length;
    return `${name} ${String(rows)}`;
  });
  return withFaults(isClassSetName(dataset) ? dataset : files.train.path, checked, {
    remarks: [
      `${files.train.path}: ${train.form} with ${String(labels.length)} labels: ${counts.slice(0, 12).join(", ")}${counts.length > 12 ? ", ..." : ""}`,
    ],
    warnings: train.remarks.map((remark) => `${files.train?.path ?? ""}: ${remark}`),
    unknownTokens: Object.values(found).flatMap(({ path, encoded }) =>
      encoded ? unknownTokensOfRows(encoded.rows, path, vocabulary) : [],
    ),
  });
};
