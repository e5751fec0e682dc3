import { UserError } from "../core/errors.js";
import type { EncodedRow } from "../datasets/encoded-rows.js";
import { readRecords, type RecordFile } from "../datasets/read-records.js";
import { describeCut, showRows, type ShownRow } from "../datasets/show-rows.js";
import { unknownTokensOfRows, vocabularyOf } from "./known-tokens.js";
import type { BaseModel } from "./load-base.js";
import {
  cutWarnings,
  describeOwnSplits,
  encodeOwnSplit,
  openOwnCoder,
  readOwnSplits,
  type OwnSplit,
} from "./own-texts.js";
import { readTokenSplits } from "./token-rows.js";
import type { DataSettings, TrainingData } from "./loaded-data.js";

/**
 * The rows of a --dataset that is a file, and of its --validation: token ids as they are, texts by their form.
 *
 * @throws {UserError} if a file is missing or broken, or its rows cannot be trained on
 */
export const loadDatasetFile = async (
  settings: DataSettings,
  path: string,
  base: BaseModel,
): Promise<TrainingData> => {
  const file = await readRecords(path);
  return file.records[0]?.value.input_ids === undefined
    ? loadTexts(settings, file, base)
    : loadTokenIds(settings, path, base);
};

const loadTokenIds = async (
  settings: DataSettings,
  path: string,
  base: BaseModel,
): Promise<TrainingData> => {
  const { train, validation, sets } = await readTokenSplits(settings, path, vocabularyOf(base));
  return {
    ...ownData(base),
    train: train.rows,
    validation: validation?.rows,
    files: Object.fromEntries(sets.map((set) => [set.path, set.sha256])),
    longest: longestOf(sets.flatMap((set) => set.rows)),
    shown: shownLines(
      base,
      train.rows.slice(0, settings.showRows ?? 0).map((encoded) => ({ encoded, path })),
    ),
  };
};

/** What all files of a person's own have alike. */
const ownData = (base: BaseModel) =>
  ({
    layout: { kind: "right-padded" },
    padId: base.tokenizer?.padId ?? base.folder.tokenIds.padId ?? 0,
    evaluationBatchDivisor: 4,
    warnings: [],
    choiceWarning: undefined,
    unknown: [],
  }) as const satisfies Partial<TrainingData>;

const longestOf = (rows: readonly EncodedRow[]): number =>
  rows.reduce((most, { ids }) => Math.max(most, ids.length), 0);

const shownLines = (base: BaseModel, rows: readonly ShownRow[]): readonly string[] =>
  showRows(rows, (ids) => base.tokenizer?.decode(ids) ?? ids.join(" "));

const loadTexts = async (
  settings: DataSettings,
  file: RecordFile,
  base: BaseModel,
): Promise<TrainingData> => {
  const { tokenizer } = base;
  const splits = await readOwnSplits(settings, file);
  if (!tokenizer)
    throw new UserError(
      `Cannot encode ${file.path}: the model folder has no tokenizer`,
      "Put the model's tokenizer.json there, or give rows of token ids",
    );
  const positions = base.folder.model.maxPositionEmbeddings;
  const coder = await openOwnCoder(splits.form, settings, { tokenizer, positions });
  const encode = async (split: OwnSplit) => ({
    path: split.file.path,
    sha256: split.file.sha256,
    encoded: await encodeOwnSplit(split, coder),
  });
  const train = await encode(splits.train);
  const validation = splits.validation && (await encode(splits.validation));
  const sets = validation ? [train, validation] : [train];
  return {
    ...ownData(base),
    train: train.encoded.rows,
    validation: validation?.encoded.rows,
    usesTokenizer: true,
    remarks: [describeOwnSplits(splits, coder.template)],
    warnings: sets.flatMap(({ path, encoded }) => cutWarnings(path, encoded, coder.maxLength)),
    unknown: sets.flatMap(({ path, encoded }) =>
      unknownTokensOfRows(encoded.rows, path, vocabularyOf(base)),
    ),
    files: Object.fromEntries(sets.map(({ path, sha256 }) => [path, sha256])),
    longest: longestOf(sets.flatMap(({ encoded }) => encoded.rows)),
    shown: shownLines(
      base,
      train.encoded.rows.slice(0, settings.showRows ?? 0).map((row) => {
        const cut = train.encoded.cut.get(row.row);
        return {
          encoded: row,
          path: file.path,
          cut: cut && describeCut(tokenizer.decode([...cut]), cut.length),
        };
      }),
    ),
  };
};
