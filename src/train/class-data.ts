import { UserError } from "../core/errors.js";
import { listRows } from "../core/row-names.js";
import { readClassRows, type ClassRows } from "../datasets/class-rows.js";
import { classSets, isClassSetName, readClassSplit } from "../datasets/class-sets.js";
import { resolveDataRoot } from "../datasets/data-root.js";
import { encodeClassRows, type EncodedClasses } from "../datasets/encode-classes.js";
import { keepRatio } from "../datasets/load-split.js";
import { readRecords, type RecordFile } from "../datasets/read-records.js";
import type { Split } from "../datasets/rows.js";
import { showRows } from "../datasets/show-rows.js";
import { tokenCacheFolder } from "../tokenizer/token-cache.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";
import { holdOutShare, validationShare } from "./own-texts.js";
import { unknownTokensOfRows, vocabularyOf } from "./known-tokens.js";
import type { BaseModel } from "./load-base.js";
import type { DataSettings, TrainingData } from "./loaded-data.js";

/** Rows are cut at so many tokens where --max_length says nothing, and at the model's positions if those are fewer. */
const usualLength = 512;

type ClassSettings = Pick<
  DataSettings,
  "dataset" | "validation" | "dataDir" | "datasetRatio" | "numWorkers" | "maxLength" | "showRows"
>;

/**
 * Tokens of a row, at most: --max_length, else 512, or the model's positions where those are fewer.
 *
 * @throws {UserError} if the model has fewer positions than --max_length asks for
 */
export const classLength = (
  { maxLength }: Pick<ClassSettings, "maxLength">,
  positions: number,
): number => {
  if (maxLength !== undefined && maxLength > positions)
    throw new UserError(
      `Cannot use --max_length ${String(maxLength)}: the model has ${String(positions)} positions`,
      `Choose at most ${String(positions)}`,
    );
  return maxLength ?? Math.min(usualLength, positions);
};

const tokenizerOf = ({ tokenizer }: BaseModel, path: string): Tokenizer => {
  if (tokenizer) return tokenizer;
  throw new UserError(
    `Cannot encode ${path}: the model folder has no tokenizer`,
    "Put the model's tokenizer.json there",
  );
};

/** A file with its rows, and whether these are tested on at the end. */
interface ClassFile {
  readonly file: RecordFile;
  readonly classes: ClassRows;
  readonly isTest: boolean;
}

const encodeFile = async (
  { file, classes }: ClassFile,
  numbers: readonly number[],
  settings: ClassSettings,
  base: BaseModel,
) => {
  const maxLength = classLength(settings, base.folder.model.maxPositionEmbeddings);
  const encoded = await encodeClassRows(classes.rows, {
    tokenizer: tokenizerOf(base, file.path),
    maxLength,
    numbers,
    encoding: {
      cacheFolder: tokenCacheFolder(),
      ...(settings.numWorkers > 0 && { workers: settings.numWorkers }),
    },
  });
  return { file, encoded, warnings: warningsOf(file.path, encoded, maxLength) };
};

const warningsOf = (path: string, { cut }: EncodedClasses, maxLength: number): readonly string[] =>
  cut.length === 0
    ? []
    : [
        `${path}: ${String(cut.length)} rows are cut at ${String(maxLength)} tokens and lose their end (${listRows(cut)}); --max_length sets the limit`,
      ];

const numbersOf = ({ file, classes }: ClassFile, ratio: number): readonly number[] =>
  keepRatio(
    classes.rows.map((_, row) => row),
    ratio,
    file.path,
  );

/** Where a set or a file has its rows. @throws {UserError} if it is missing or broken */
const openSplit = async (
  { dataset, dataDir }: Pick<ClassSettings, "dataset" | "dataDir">,
  split: Split,
): Promise<Omit<ClassFile, "classes">> =>
  isClassSetName(dataset)
    ? readClassSplit(dataset, split, await resolveDataRoot({ dataDir }))
    : { file: await readRecords(dataset), isTest: false };

const namesOf = (dataset: string): { readonly names?: readonly string[] } =>
  isClassSetName(dataset) ? { names: classSets[dataset].labels } : {};

/** @throws {UserError} if the data have other classes than a model that has a head */
const requireLabels = (
  { file, classes }: ClassFile,
  { folder }: BaseModel,
  own: readonly string[],
): void => {
  const { labels } = folder.model;
  if (labels === undefined || own.length === labels.length) return;
  throw new UserError(
    `Cannot train ${folder.path} on ${file.path}: found ${String(own.length)} labels in the data (${own.slice(0, 6).join(", ")}${own.length > 6 ? ", ..." : ""}), expected the ${String(labels.length)} of the model's head (${labels.slice(0, 6).join(", ")}${labels.length > 6 ? ", ..." : ""}), as ${String(classes.form)} rows have them`,
    "Give a base without a classifier's head, which then gets one of these labels",
  );
};

/**
 * The rows of a run that learns classes: a set's splits, or a file and its --validation.
 *
 * The classes are those of the training rows, or of a base that has a head: validation rows have to be among them.
 * @throws {UserError} if a file is missing or broken, a label is none of the classes, or the data have others than the base's head
 */
export const loadClassData = async (
  settings: ClassSettings,
  base: BaseModel,
): Promise<TrainingData> => {
  const { dataset, validation, datasetRatio } = settings;
  const source = await openSplit(settings, "train");
  const own = readClassRows(source.file, namesOf(dataset));
  const { labels: ofHead } = base.folder.model;
  const labels = ofHead ?? own.labels;
  const isByName = ofHead !== undefined && own.labels.every((label) => ofHead.includes(label));
  if (!isByName) requireLabels({ ...source, classes: own }, base, own.labels);
  const all: ClassFile = { ...source, classes: readClassRows(source.file, { known: labels }) };
  const numbers = numbersOf(all, datasetRatio);
  const share = isClassSetName(dataset) ? undefined : validationShare(validation);
  const held =
    share === undefined ? undefined : holdOutShare(numbers.length, share, source.file.path);
  const train = await encodeFile(all, held?.train ?? numbers, settings, base);
  const other = held ? undefined : await openValidation(settings, labels);
  const evaluated = held
    ? await encodeFile(all, held.validation, settings, base)
    : other && (await encodeFile(other, numbersOf(other, datasetRatio), settings, base));
  const sets = evaluated ? [train, evaluated] : [train];
  const tokenizer = tokenizerOf(base, source.file.path);
  const { path } = source.file;
  return {
    train: train.encoded.rows,
    validation: evaluated?.encoded.rows,
    labels,
    layout: { kind: "right-padded" },
    padId: tokenizer.padId,
    evaluationBatchDivisor: 1,
    usesTokenizer: true,
    remarks: [
      `${path}: ${String(own.rows.length)} rows of ${own.form}, ${String(labels.length)} labels: ${labels.slice(0, 8).join(", ")}${labels.length > 8 ? ", ..." : ""}` +
        (held
          ? `; ${String(held.validation.length)} held out for validation, ${String(held.train.length)} to train on`
          : ""),
    ],
    warnings: [
      ...own.remarks.map((remark) => `${path}: ${remark}`),
      ...sets.flatMap(({ warnings }) => warnings),
    ],
    choiceWarning: other?.isTest
      ? `${dataset} is tested on its validation rows: they choose the best checkpoint, so that its figures are too good`
      : undefined,
    unknown: sets.flatMap(({ encoded, file }) =>
      unknownTokensOfRows(encoded.rows, file.path, vocabularyOf(base)),
    ),
    files: Object.fromEntries(sets.map(({ file }) => [file.path, file.sha256])),
    longest: sets
      .flatMap(({ encoded }) => encoded.rows)
      .reduce((most, { ids }) => Math.max(most, ids.length), 0),
    shown: showRows(
      train.encoded.rows.slice(0, settings.showRows ?? 0).map((encoded) => ({
        encoded,
        path,
        label: labels[encoded.classLabel ?? -1],
      })),
      (ids) => tokenizer.decode(ids),
    ),
  };
};

const openValidation = async (
  settings: Pick<ClassSettings, "dataset" | "dataDir" | "validation">,
  known: readonly string[],
): Promise<ClassFile | undefined> => {
  const { dataset, validation } = settings;
  if (!isClassSetName(dataset) && validation === undefined) return undefined;
  const found = isClassSetName(dataset)
    ? await openSplit(settings, "validation")
    : { file: await readRecords(validation ?? ""), isTest: false };
  return { ...found, classes: readClassRows(found.file, { known }) };
};

/** Rows that are to be classified, with what they say. */
export interface ClassQuestions {
  readonly rows: ReturnType<typeof readClassRows>["rows"];
  readonly encoded: readonly TrainingData["train"][number][];
  readonly path: string;
  readonly sha256: string;
  readonly warnings: readonly string[];
  readonly unknown: TrainingData["unknown"];
}

/**
 * The rows that a classifier is tested on: a set's test rows, or a file's.
 *
 * @param labels of the classifier
 * @throws {UserError} if the file is missing or broken, or a label is none of the classifier's
 */
export const loadClassQuestions = async (
  settings: ClassSettings & { readonly limit: number | undefined },
  base: BaseModel,
  labels: readonly string[],
): Promise<ClassQuestions> => {
  const { file } = await openSplit(settings, "test");
  const classes = readClassRows(file, { known: labels });
  const count = Math.min(classes.rows.length, settings.limit ?? Infinity);
  const numbers = Array.from({ length: count }, (_, row) => row);
  const { encoded, warnings } = await encodeFile(
    { file, classes, isTest: true },
    numbers,
    settings,
    base,
  );
  return {
    rows: classes.rows.slice(0, count),
    encoded: encoded.rows,
    path: file.path,
    sha256: file.sha256,
    warnings,
    unknown: unknownTokensOfRows(encoded.rows, file.path, vocabularyOf(base)),
  };
};
