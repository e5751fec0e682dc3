import { UserError } from "../core/errors.js";
import { pythonRandom } from "../core/mersenne-twister.js";
import { listRows } from "../core/row-names.js";
import type { EncodedRow } from "../datasets/encoded-rows.js";
import { keepRatio } from "../datasets/load-split.js";
import { encodeOwnRows, openOwnTemplate, type OwnEncoded } from "../datasets/own-encode.js";
import { parseOwnRows, type OwnForm } from "../datasets/own-rows.js";
import { readPreTokenized } from "../datasets/pre-tokenized.js";
import { readRecords, type RecordFile } from "../datasets/read-records.js";
import { describeCut, showRows, type ShownRow } from "../datasets/show-rows.js";
import { tokenCacheFolder } from "../tokenizer/token-cache.js";
import { unknownTokensOfRows, vocabularyOf } from "./known-tokens.js";
import type { BaseModel } from "./load-base.js";
import type { DataSettings, TrainingData } from "./training-data.js";

/** The share of the rows that --validation asks to hold out, or undefined where it names a file. */
export const validationShare = (validation: string | undefined): number | undefined => {
  const isNumber = validation !== undefined && /^\d*\.?\d+%?$/.test(validation);
  if (!isNumber) return undefined;
  return validation.endsWith("%") ? Number(validation.slice(0, -1)) / 100 : Number(validation);
};

/** Whichever --seed a run has, so that runs of several seeds are validated alike. */
const shareSeed = 42;

/**
 * Numbers of rows to train on and to hold out: floor(share * rows), one at least, drawn alike whatever the run's seed, each in the file's order.
 *
 * @throws {UserError} if the share leaves no row on either side
 */
export const holdOutShare = (
  rows: number,
  share: number,
  path: string,
): { readonly train: readonly number[]; readonly validation: readonly number[] } => {
  const held = Math.max(1, Math.floor(rows * share));
  if (!(share > 0 && share < 1) || held >= rows)
    throw new UserError(
      `Cannot hold a share of ${String(share)} out of ${path}: found ${String(rows)} rows, expected some on both sides`,
      "--validation takes a share above 0 and below 1, such as 0.1, or a file",
    );
  const order = Array.from({ length: rows }, (_, row) => row);
  pythonRandom(shareSeed).shuffle(order);
  const inOrder = (part: readonly number[]): readonly number[] => [...part].sort((a, b) => a - b);
  return { train: inOrder(order.slice(held)), validation: inOrder(order.slice(0, held)) };
};

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
  const given = (["promptField", "targetField", "template", "maxLength"] as const).find(
    (name) => settings[name] !== undefined,
  );
  if (given !== undefined)
    throw new UserError(
      `Cannot use --${given.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)}: found token ids in ${path}, which are taken as they are`,
      "Leave the flag out, or give rows of text",
    );
  const read = async (name: string) => {
    const set = await readPreTokenized(name, vocabularyOf(base));
    return { ...set, rows: keepRatio(set.rows, settings.datasetRatio, name) };
  };
  const train = await read(path);
  const share = validationShare(settings.validation);
  const held = share === undefined ? undefined : holdOutShare(train.rows.length, share, path);
  const pick = (numbers: readonly number[]): readonly EncodedRow[] =>
    numbers.flatMap((row) => train.rows[row] ?? []);
  const other =
    settings.validation === undefined || held ? undefined : await read(settings.validation);
  const sets = other ? [train, other] : [train];
  const rows = held ? pick(held.train) : train.rows;
  return {
    ...ownData(base),
    train: rows,
    validation: held ? pick(held.validation) : other?.rows,
    files: Object.fromEntries(sets.map((set) => [set.path, set.sha256])),
    longest: longestOf(sets.flatMap((set) => set.rows)),
    shown: shownLines(
      base,
      rows.slice(0, settings.showRows ?? 0).map((encoded) => ({ encoded, path })),
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

/** Rows are cut at so many tokens where --max_length says nothing, and at the model's positions if those are fewer. */
const usualLength = 1024;

const loadTexts = async (
  settings: DataSettings,
  file: RecordFile,
  base: BaseModel,
): Promise<TrainingData> => {
  const { tokenizer } = base;
  const { path } = file;
  const first = parseOwnRows(file, settings);
  if (!tokenizer)
    throw new UserError(
      `Cannot encode ${path}: the model folder has no tokenizer`,
      "Put the model's tokenizer.json there, or give rows of token ids",
    );
  const positions = base.folder.model.maxPositionEmbeddings;
  if (settings.maxLength !== undefined && settings.maxLength > positions)
    throw new UserError(
      `Cannot use --max_length ${String(settings.maxLength)}: the model has ${String(positions)} positions`,
      `Choose at most ${String(positions)}`,
    );
  const maxLength = settings.maxLength ?? Math.min(usualLength, positions);
  const template = await openOwnTemplate(first.form, settings.template, tokenizer);
  const numbersOf = (of: RecordFile): readonly number[] =>
    keepRatio(
      of.records.map((_, row) => row),
      settings.datasetRatio,
      of.path,
    );
  const encode = async (of: RecordFile, rows: typeof first.rows, numbers: readonly number[]) => ({
    file: of,
    encoded: await encodeOwnRows(of, rows, {
      tokenizer,
      template,
      maxLength,
      numbers,
      encoding: { cacheFolder: tokenCacheFolder() },
    }),
  });
  const share = validationShare(settings.validation);
  const all = numbersOf(file);
  const held = share === undefined ? undefined : holdOutShare(all.length, share, path);
  const train = await encode(file, first.rows, held?.train ?? all);
  let validation: typeof train | undefined;
  if (held) validation = await encode(file, first.rows, held.validation);
  else if (settings.validation !== undefined) {
    const other = await readRecords(settings.validation);
    const { form, rows } = parseOwnRows(other, settings);
    if (form.name !== first.form.name)
      throw new UserError(
        `Cannot validate with ${other.path}: found ${form.name}, expected ${first.form.name} as in ${path}`,
      );
    validation = await encode(other, rows, numbersOf(other));
  }
  const sets = validation ? [train, validation] : [train];
  const encoded = sets.flatMap((set) => set.encoded.rows);
  return {
    ...ownData(base),
    train: train.encoded.rows,
    validation: validation?.encoded.rows,
    usesTokenizer: true,
    remarks: [
      `${path}: ${String(file.records.length)} ${file.records.length === 1 ? "row" : "rows"} of ${first.form.name}${howWritten(first.form, template)}` +
        (held
          ? `; ${String(held.validation.length)} held out for validation, ${String(held.train.length)} to train on`
          : ""),
    ],
    warnings: sets.flatMap((set) => cutWarnings(set.file.path, set.encoded, maxLength)),
    unknown: sets.flatMap((set) =>
      unknownTokensOfRows(set.encoded.rows, set.file.path, vocabularyOf(base)),
    ),
    files: Object.fromEntries(sets.map((set) => [set.file.path, set.file.sha256])),
    longest: longestOf(encoded),
    shown: shownLines(
      base,
      train.encoded.rows.slice(0, settings.showRows ?? 0).map((row) => {
        const cut = train.encoded.cut.get(row.row);
        return {
          encoded: row,
          path,
          cut: cut && describeCut(tokenizer.decode([...cut]), cut.length),
        };
      }),
    ),
  };
};

/** What a form's rows become, behind its name. */
const howWritten = (
  { kind }: OwnForm,
  { name, chat }: { readonly name: string; readonly chat?: unknown },
): string => {
  if (kind === "text") return ", all of it learnt";
  if (chat !== undefined) return `, written by ${name}; loss on the assistant's turns only`;
  return name === "plain"
    ? ", prompts as they stand; loss on the target only"
    : `, prompts by template ${name}; loss on the target only`;
};

const cutWarnings = (
  path: string,
  { cut, continued }: OwnEncoded,
  maxLength: number,
): readonly string[] => [
  ...(cut.size === 0
    ? []
    : [
        `${path}: ${String(cut.size)} rows are cut at ${String(maxLength)} tokens and lose their end (${listRows([...cut.keys()])}); --max_length allows more`,
      ]),
  ...(continued.length === 0
    ? []
    : [
        `${path}: ${String(continued.length)} texts are longer than ${String(maxLength)} tokens and go on in further rows (${listRows(continued)})`,
      ]),
];
