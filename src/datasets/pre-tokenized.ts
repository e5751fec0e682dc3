import { describeJson } from "../core/json.js";
import { describeToken, isKnownId, type Vocabulary } from "../core/unknown-tokens.js";
import { countLabels, noLoss } from "./encoded-rows.js";
import type { EncodedRow } from "./encoded-rows.js";
import { readRecords, throwFaults } from "./read-records.js";

/** Rows that came as token ids, and the file that they came from. */
export interface PreTokenizedSet {
  readonly rows: readonly EncodedRow[];
  readonly path: string;
  /** SHA-256 of the file as stored. */
  readonly sha256: string;
  /** The places of the rows that have no labels, `line 3`. */
  readonly withoutLabels: readonly string[];
}

/**
 * Rows of token ids from a file of JSON or JSON Lines (see readRecords), taken as they are: no template, no special tokens, no limit.
 *
 * A row has `input_ids`, `labels` (one a token, not shifted, -100 = no loss; where they are optional they may be missing or null)
 * and may have `attention_mask` (0 or 1).
 * @param vocabulary ids and labels must be in it
 * @throws {UserError} if the file is missing or broken, or a row is not so: every fault with its line, up to ten
 */
export const readPreTokenized = async (
  path: string,
  vocabulary: Vocabulary,
  { labels = "required" }: { readonly labels?: "required" | "optional" } = {},
): Promise<PreTokenizedSet> => {
  const file = await readRecords(path);
  const faults: string[] = [];
  const withoutLabels: string[] = [];
  const rows = file.records.flatMap(({ place, value }, row): EncodedRow[] => {
    const isUnlabelled = labels === "optional" && (value.labels ?? undefined) === undefined;
    if (isUnlabelled) withoutLabels.push(place);
    const encoded = parseRow(value, {
      row,
      vocabulary,
      isUnlabelled,
    });
    if (typeof encoded !== "string") return [encoded];
    faults.push(`${place}: ${encoded}`);
    return [];
  });
  throwFaults(
    path,
    faults,
    `A row is {"input_ids": [...], "labels": [...]}, with labels as long as input_ids and -100 where there is no loss${labels === "optional" ? "; without labels there are logits alone" : ""}`,
  );
  return { rows, path, sha256: file.sha256, withoutLabels };
};

/** The row, or what is wrong with it. */
const parseRow = (
  value: Readonly<Record<string, unknown>>,
  {
    row,
    vocabulary,
    isUnlabelled,
  }: { readonly row: number; readonly vocabulary: Vocabulary; readonly isUnlabelled: boolean },
): EncodedRow | string => {
  const ids = tokenIdsOf(value, "input_ids", vocabulary);
  if (typeof ids === "string") return ids;
  if (ids.length === 0)
    return `found an empty input_ids, expected at least ${isUnlabelled ? "one token" : "two tokens"}`;
  const labels = isUnlabelled ? undefined : tokenIdsOf(value, "labels", vocabulary);
  if (typeof labels === "string") return labels;
  const mask = maskOf(value);
  if (typeof mask === "string") return mask;
  for (const [name, list] of [
    ["labels", labels],
    ["attention_mask", mask],
  ] as const) {
    if (list !== undefined && list.length !== ids.length)
      return `found ${String(list.length)} ${name}, expected ${String(ids.length)} as in input_ids`;
  }
  const firstLabel = labels?.findIndex((label) => label !== noLoss) ?? -1;
  const encoded: EncodedRow = {
    row,
    ids: Int32Array.from(ids),
    contextLength: firstLabel < 0 ? ids.length : firstLabel,
    labels: labels && Int32Array.from(labels),
    attentionMask: mask === undefined ? undefined : Uint8Array.from(mask),
  };
  return isUnlabelled || countLabels(encoded) > 0
    ? encoded
    : "found no label behind the first token, expected at least one that is not -100";
};

/** The token ids of a field, or what is wrong with them; among labels, -100 too. */
export const tokenIdsOf = (
  value: Readonly<Record<string, unknown>>,
  field: "input_ids" | "labels",
  { vocabularySize, textOf = () => undefined }: Vocabulary,
): readonly number[] | string => {
  const or = field === "labels" ? `${String(noLoss)} or ` : "";
  return numbersOf(value, field, {
    isRight: (id) => (field === "labels" && id === noLoss) || isKnownId(id, vocabularySize),
    expected: `${or}a whole number from 0 below ${String(vocabularySize)}`,
    describe: (id) => (Number.isInteger(id) && textOf(id) ? describeToken(id, textOf) : undefined),
  });
};

interface NumberRule {
  readonly isRight: (number: number) => boolean;
  readonly expected: string;
  /** How a wrong number is shown, if not as it stands. */
  readonly describe?: (number: number) => string | undefined;
}

/** The numbers of a field, or what is wrong with them: the first wrong one, and how many there are. */
export const numbersOf = (
  value: Readonly<Record<string, unknown>>,
  field: string,
  { isRight, expected, describe = () => undefined }: NumberRule,
): readonly number[] | string => {
  const list = value[field];
  if (list === undefined) {
    const names = Object.keys(value).join(", ");
    return `found ${names === "" ? "no fields" : `fields ${names}`}, expected ${field}`;
  }
  if (!Array.isArray(list)) return `found ${describeJson(list)} in ${field}, expected an array`;
  const isWrong = (item: unknown): boolean => typeof item !== "number" || !isRight(item);
  const wrong = list.findIndex(isWrong);
  if (wrong < 0) return list as number[];
  const first: unknown = list[wrong];
  const shown = (typeof first === "number" ? describe(first) : undefined) ?? JSON.stringify(first);
  const others = list.filter(isWrong).length - 1;
  const more = others === 0 ? "" : ` and ${String(others)} more`;
  return `found ${shown} in ${field}[${String(wrong)}]${more}, expected ${expected}`;
};

/** The attention mask of a row, or what is wrong with it; undefined where it has none. */
export const maskOf = (
  value: Readonly<Record<string, unknown>>,
): readonly number[] | string | undefined =>
  value.attention_mask === undefined
    ? undefined
    : numbersOf(value, "attention_mask", {
        isRight: (bit) => bit === 0 || bit === 1,
        expected: "0 or 1",
      });
