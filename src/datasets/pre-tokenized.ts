import { describeJson } from "../core/json.js";
import { countLabels, noLoss } from "./encoded-rows.js";
import type { EncodedRow } from "./encoded-rows.js";
import { readRecords, throwFaults } from "./read-records.js";

export interface PreTokenizedSet {
  readonly rows: readonly EncodedRow[];
  readonly path: string;
  /** SHA-256 of the file as stored. */
  readonly sha256: string;
}

/**
 * Rows of token ids from a file of JSON or JSON Lines (see readRecords), taken as they are: no template, no special tokens, no limit.
 *
 * A row has `input_ids`, `labels` (one a token, not shifted, -100 = no loss) and may have `attention_mask` (0 or 1).
 * @param vocabularySize ids and labels must be below it, where it is known
 * @throws {UserError} if the file is missing or broken, or a row is not so: every fault with its line, up to ten
 */
export const readPreTokenized = async (
  path: string,
  { vocabularySize }: { readonly vocabularySize?: number | undefined } = {},
): Promise<PreTokenizedSet> => {
  const file = await readRecords(path);
  const faults: string[] = [];
  const rows = file.records.flatMap(({ place, value }, row): EncodedRow[] => {
    const encoded = parseRow(value, row, vocabularySize);
    if (typeof encoded !== "string") return [encoded];
    faults.push(`${place}: ${encoded}`);
    return [];
  });
  throwFaults(
    path,
    faults,
    'A row is {"input_ids": [...], "labels": [...]}, with labels as long as input_ids and -100 where there is no loss',
  );
  return { rows, path, sha256: file.sha256 };
};

/** The row, or what is wrong with it. */
const parseRow = (
  value: Readonly<Record<string, unknown>>,
  row: number,
  vocabularySize = Infinity,
): EncodedRow | string => {
  const isId = (id: number): boolean => Number.isInteger(id) && id >= 0 && id < vocabularySize;
  const isLabel = (label: number): boolean => label === noLoss || isId(label);
  const limit = vocabularySize === Infinity ? "" : ` below ${String(vocabularySize)}`;
  const ids = numbersOf(value, "input_ids", isId, `a whole number from 0${limit}`);
  if (typeof ids === "string") return ids;
  if (ids.length === 0) return "found an empty input_ids, expected at least two tokens";
  const labels = numbersOf(value, "labels", isLabel, `-100 or a whole number from 0${limit}`);
  if (typeof labels === "string") return labels;
  const mask =
    value.attention_mask === undefined
      ? undefined
      : numbersOf(value, "attention_mask", (bit) => bit === 0 || bit === 1, "0 or 1");
  if (typeof mask === "string") return mask;
  for (const [name, list] of [
    ["labels", labels],
    ["attention_mask", mask],
  ] as const) {
    if (list !== undefined && list.length !== ids.length)
      return `found ${String(list.length)} ${name}, expected ${String(ids.length)} as in input_ids`;
  }
  const firstLabel = labels.findIndex((label) => label !== noLoss);
  const encoded: EncodedRow = {
    row,
    ids: Int32Array.from(ids),
    contextLength: firstLabel < 0 ? ids.length : firstLabel,
    labels: Int32Array.from(labels),
    attentionMask: mask === undefined ? undefined : Uint8Array.from(mask),
  };
  return countLabels(encoded) > 0
    ? encoded
    : "found no label behind the first token, expected at least one that is not -100";
};

/** The numbers of a field, or what is wrong with them. */
export const numbersOf = (
  value: Readonly<Record<string, unknown>>,
  field: string,
  isRight: (number: number) => boolean,
  expected: string,
): readonly number[] | string => {
  const list = value[field];
  if (list === undefined) {
    const names = Object.keys(value).join(", ");
    return `found ${names === "" ? "no fields" : `fields ${names}`}, expected ${field}`;
  }
  if (!Array.isArray(list)) return `found ${describeJson(list)} in ${field}, expected an array`;
  const wrong = list.findIndex((item) => typeof item !== "number" || !isRight(item));
  if (wrong < 0) return list as number[];
  return `found ${JSON.stringify(list[wrong])} in ${field}[${String(wrong)}], expected ${expected}`;
};
