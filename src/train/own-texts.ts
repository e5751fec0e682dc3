import { UserError } from "../core/errors.js";
import { pythonRandom } from "../core/mersenne-twister.js";
import { listRows } from "../core/row-names.js";
import { keepRatio } from "../datasets/load-split.js";
import {
  encodeOwnRows,
  openOwnTemplate,
  type OwnEncoded,
  type OwnTemplate,
} from "../datasets/own-encode.js";
import { parseOwnRows, type OwnForm, type OwnRow } from "../datasets/own-rows.js";
import { readRecords, type RecordFile } from "../datasets/read-records.js";
import { tokenCacheFolder } from "../tokenizer/token-cache.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";
import type { DataSettings } from "./loaded-data.js";

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

/** What is asked of the rows of a file of text. */
export type OwnTextSettings = Pick<
  DataSettings,
  "validation" | "datasetRatio" | "promptField" | "targetField" | "template" | "maxLength"
>;

/** The rows of a split of a person's own file. */
export interface OwnSplit {
  readonly file: RecordFile;
  /** All rows of the file. */
  readonly rows: readonly OwnRow[];
  /** The numbers of those that the split has. */
  readonly numbers: readonly number[];
}

/** A person's own file of text, as rows to train on and rows to validate with. */
export interface OwnSplits {
  readonly form: OwnForm;
  readonly train: OwnSplit;
  readonly validation: OwnSplit | undefined;
  /** Whether the validation rows are a share of the same file. */
  readonly isShared: boolean;
}

/**
 * The rows of a file of text and of its --validation, in their forms.
 *
 * @throws {UserError} if a file is missing or broken, or validation has another form
 */
export const readOwnSplits = async (
  settings: OwnTextSettings,
  file: RecordFile,
): Promise<OwnSplits> => {
  const { form, rows } = parseOwnRows(file, settings);
  const numbersOf = (of: RecordFile): readonly number[] =>
    keepRatio(
      of.records.map((_, row) => row),
      settings.datasetRatio,
      of.path,
    );
  const share = validationShare(settings.validation);
  const all = numbersOf(file);
  if (share !== undefined) {
    const held = holdOutShare(all.length, share, file.path);
    return {
      form,
      train: { file, rows, numbers: held.train },
      validation: { file, rows, numbers: held.validation },
      isShared: true,
    };
  }
  const train = { file, rows, numbers: all };
  if (settings.validation === undefined)
    return { form, train, validation: undefined, isShared: false };
  const other = await readRecords(settings.validation);
  const found = parseOwnRows(other, settings);
  if (found.form.name !== form.name)
    throw new UserError(
      `Cannot validate with ${other.path}: found ${found.form.name}, expected ${form.name} as in ${file.path}`,
    );
  const validation = { file: other, rows: found.rows, numbers: numbersOf(other) };
  return { form, train, validation, isShared: false };
};

/** What makes tokens of texts. */
export interface OwnCoder {
  readonly tokenizer: Tokenizer;
  /** Of the model; undefined where nothing says. */
  readonly positions: number | undefined;
  readonly template: OwnTemplate;
  /** Tokens of a row, at most. */
  readonly maxLength: number;
}

/** Rows are cut at so many tokens where --max_length says nothing, and at the model's positions if those are fewer. */
const usualLength = 1024;

/**
 * The template of a file's rows and how long they may be.
 *
 * @throws {UserError} if the template is missing or broken, or --max_length is more than the model has positions
 */
export const openOwnCoder = async (
  form: OwnForm,
  { template, maxLength }: Pick<DataSettings, "template" | "maxLength">,
  { tokenizer, positions }: Pick<OwnCoder, "tokenizer" | "positions">,
): Promise<OwnCoder> => {
  if (maxLength !== undefined && positions !== undefined && maxLength > positions)
    throw new UserError(
      `Cannot use --max_length ${String(maxLength)}: the model has ${String(positions)} positions`,
      `Choose at most ${String(positions)}`,
    );
  return {
    tokenizer,
    positions,
    template: await openOwnTemplate(form, template, tokenizer),
    maxLength: maxLength ?? Math.min(usualLength, positions ?? usualLength),
  };
};

/** The tokens of a split's rows. @throws {UserError} as encodeOwnRows */
export const encodeOwnSplit = (
  { file, rows, numbers }: OwnSplit,
  { tokenizer, template, maxLength }: OwnCoder,
  { allowsUnlabelled = false }: { readonly allowsUnlabelled?: boolean } = {},
): Promise<OwnEncoded> =>
  encodeOwnRows(file, rows, {
    ...{ tokenizer, template, maxLength, numbers, allowsUnlabelled },
    encoding: { cacheFolder: tokenCacheFolder() },
  });

/** What a form's rows become, behind its name. */
export const howWritten = (
  { kind }: OwnForm,
  { name, chat }: { readonly name: string; readonly chat?: unknown },
): string => {
  if (kind === "text") return ", all of it learnt";
  if (chat !== undefined) return `, written by ${name}; loss on the assistant's turns only`;
  return name === "plain"
    ? ", prompts as they stand; loss on the target only"
    : `, prompts by template ${name}; loss on the target only`;
};

/** What a file was taken for, in one line. */
export const describeOwnSplits = (
  { form, train, validation, isShared }: OwnSplits,
  template: OwnTemplate | undefined,
): string => {
  const { path, records } = train.file;
  const rows = records.length === 1 ? "row" : "rows";
  const leavesLabels =
    form.kind === "text" && records.some(({ value }) => value.label !== undefined);
  return (
    `${path}: ${String(records.length)} ${rows} of ${form.name}${template ? howWritten(form, template) : ""}` +
    (validation && isShared
      ? `; ${String(validation.numbers.length)} held out for validation, ${String(train.numbers.length)} to train on`
      : "") +
    (leavesLabels ? "; their label is not used, --task=sequence-classification learns it" : "")
  );
};

/** What the person has to know of rows that are longer than the limit. */
export const cutWarnings = (
  path: string,
  { cut, continued, rewritten }: OwnEncoded,
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
  ...(rewritten.length === 0
    ? []
    : [
        `${path}: the chat template rewrites earlier turns of ${String(rewritten.length)} chats, as where it leaves out thoughts (${listRows(rewritten)}); they are learnt as it writes them`,
      ]),
];

/** @throws {UserError} if a flag of rows of text is given for rows of token ids */
export const refuseTextFlags = (
  settings: Pick<DataSettings, "promptField" | "targetField" | "template" | "maxLength">,
  what: string,
): void => {
  const given = (["promptField", "targetField", "template", "maxLength"] as const).find(
    (name) => settings[name] !== undefined,
  );
  if (given !== undefined)
    throw new UserError(
      `Cannot use --${given.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)}: found ${what}`,
      "Leave the flag out, or give rows of text",
    );
};
