import { UserError } from "../core/errors.js";
import { checkRows, type CheckedSplit, type RowKey } from "../datasets/check-rows.js";
import { countLabels } from "../datasets/encoded-rows.js";
import type { OwnRow } from "../datasets/own-rows.js";
import { readRecords, type RecordFile } from "../datasets/read-records.js";
import {
  describeOwnSplits,
  encodeOwnSplit,
  openOwnCoder,
  readOwnSplits,
  type OwnCoder,
  type OwnSplit,
} from "../train/own-texts.js";
import { readTokenSplits, type TokenSplit } from "../train/token-rows.js";
import { unknownTokensOfRows } from "../train/known-tokens.js";
import {
  withFaults,
  type CheckCoder,
  type CheckDataOptions,
  type CheckedData,
} from "./checked-data.js";

const layout = { kind: "right-padded" } as const;

/** Opens what makes tokens. @param needsTokenizer whether the rows are text */
export type OpenCoder = (needsTokenizer: boolean) => Promise<CheckCoder>;

/**
 * Looks at the rows of a file as a run would get them: texts by their form, token ids as they are.
 *
 * @throws {UserError} where training would stop before it looks at single rows
 */
export const checkFile = async (
  path: string,
  openCoder: OpenCoder,
  options: CheckDataOptions,
): Promise<CheckedData> => {
  const file = await readRecords(path);
  return file.records[0]?.value.input_ids === undefined
    ? checkTexts(file, await openCoder(true), options)
    : checkTokenRows(path, await openCoder(false), options);
};

/** What makes two rows the same: of a chat, all turns before the assistant's last one, and that. */
const keyOfRow = (row: OwnRow | undefined): RowKey => {
  if (row === undefined) return { context: "", target: "" };
  if (row.kind === "text") return { context: "", target: row.text };
  if (row.kind === "pair") return { context: row.fields.prompt ?? "", target: row.target };
  const last = row.messages.findLastIndex(({ role }) => role === "assistant");
  return {
    context: JSON.stringify(row.messages.slice(0, last)),
    target: JSON.stringify(row.messages.slice(last)),
  };
};

const checkTexts = async (
  file: RecordFile,
  { tokenizer, vocabulary, positions }: CheckCoder,
  options: CheckDataOptions,
): Promise<CheckedData> => {
  const splits = await readOwnSplits(options, file);
  const { form, train, validation } = splits;
  const coder = tokenizer && (await openOwnCoder(form, options, { tokenizer, positions }));
  if (!coder) requireCoder(options);
  const trained = await checkedSplitOf(train, coder);
  const held = validation && (await checkedSplitOf(validation, coder));
  const checked = checkRows(
    { train: trained, ...(held && { validation: held }) },
    {
      ...{ batch: options.batch, layout, isText: form.kind === "text" },
      rowLimit: coder?.maxLength,
    },
  );
  return withFaults(file.path, checked, {
    remarks: [describeOwnSplits(splits, coder?.template)],
    unknownTokens: [trained, ...(held ? [held] : [])].flatMap(({ path, encoded }) =>
      encoded ? unknownTokensOfRows(encoded.rows, path, vocabulary) : [],
    ),
  });
};

/** @throws {UserError} if a flag asks for what needs a tokenizer */
const requireCoder = ({ template, maxLength }: CheckDataOptions): void => {
  if (template === undefined && maxLength === undefined) return;
  throw new UserError(
    `Cannot use --${template === undefined ? "max_length" : "template"}: found no model, expected one whose tokenizer makes tokens of the rows`,
    "Name it with --model",
  );
};

const checkedSplitOf = async (
  split: OwnSplit,
  coder: OwnCoder | undefined,
): Promise<CheckedSplit> => {
  const { file, rows, numbers } = split;
  const shared = { path: file.path, keys: numbers.map((row) => keyOfRow(rows[row])), numbers };
  if (!coder) return shared;
  const encoded = await encodeOwnSplit(split, coder, { allowsUnlabelled: true });
  const placeOf = new Map(numbers.map((row, place) => [row, place]));
  const places = (of: Iterable<number>): readonly number[] =>
    [...of].flatMap((row) => placeOf.get(row) ?? []);
  return {
    ...shared,
    continued: places(encoded.continued),
    encoded: {
      rows: encoded.rows,
      cutContexts: [],
      cutTargets: places(encoded.cut.keys()),
      unlabelled: places(encoded.unlabelled),
      wholeLengths: encoded.wholeLengths,
    },
  };
};

/** Rows of token ids, which nothing cuts. */
const checkTokenRows = async (
  path: string,
  { vocabulary }: CheckCoder,
  options: CheckDataOptions,
): Promise<CheckedData> => {
  const { batch } = options;
  const ids = (values: Int32Array): string => values.join(" ");
  const split = ({ path: file, rows, numbers }: TokenSplit): CheckedSplit => ({
    path: file,
    numbers,
    keys: rows.map((row) => ({
      context: ids(row.ids.subarray(0, row.contextLength)),
      target: `${ids(row.ids.subarray(row.contextLength))}|${row.labels?.join(" ") ?? ""}`,
    })),
    encoded: {
      rows,
      cutContexts: [],
      cutTargets: [],
      unlabelled: rows.flatMap((row, i) => (countLabels(row) === 0 ? [i] : [])),
      wholeLengths: rows.map(({ ids: whole, contextLength }) => ({
        context: contextLength,
        target: whole.length - contextLength,
      })),
    },
  });
  const splits = await readTokenSplits(options, path, vocabulary);
  const train = split(splits.train);
  const other = splits.validation && split(splits.validation);
  const checked = checkRows(
    { train, ...(other && { validation: other }) },
    {
      ...{ batch, layout },
      // Rows without a single token before the first label, as in language modelling, have no context.
      isText: train.encoded?.rows.every(({ contextLength }) => contextLength <= 1) ?? false,
    },
  );
  return withFaults(path, checked, {});
};
