import { UserError } from "../core/errors.js";
import { isJsonObject, parseJson } from "../core/json.js";
import { encodeTexts, type EncodeTextsOptions } from "../tokenizer/encode-texts.js";
import {
  readSpecialTokens,
  type SpecialTokens,
  type TemplatePiece,
} from "../tokenizer/special-tokens.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";
import type { ClassRow } from "./class-rows.js";
import type { EncodedRow } from "./encoded-rows.js";

/** Texts with classes as token ids, and what the limit took of them. */
export interface EncodedClasses {
  readonly rows: readonly EncodedRow[];
  /** Numbers of the rows that lost their end at the limit. */
  readonly cut: readonly number[];
  /** Tokens of every row before any is cut, special tokens included. */
  readonly wholeLengths: readonly number[];
}

const specialTokensOf = ({ source }: Pick<Tokenizer, "source">): SpecialTokens => {
  const json = parseJson(source.tokenizerJson, source.name);
  return readSpecialTokens(isJsonObject(json) ? json.post_processor : undefined, source.name);
};

/**
 * How many tokens of two texts fit into `room`: the longer one is cut until both fit.
 *
 * Source: truncate_encodings of tokenizers 0.23, LongestFirst.
 */
export const fitLongestFirst = (
  first: number,
  second: number,
  room: number,
): readonly [first: number, second: number] => {
  if (first + second <= room) return [first, second];
  const swaps = first > second;
  const short = Math.min(first, second);
  let [a, b] = [short, short > room ? short : Math.max(short, room - short)];
  if (a + b > room) {
    a = Math.floor(room / 2);
    b = a + (room % 2);
  }
  return swaps ? [b, a] : [a, b];
};

const countTokens = (pieces: readonly TemplatePiece[]): number =>
  pieces.reduce((sum, piece) => sum + (piece.kind === "tokens" ? piece.ids.length : 0), 0);

/**
 * Rows as a model of classes reads them: the tokenizer's special tokens around one text or two, cut to `maxLength` tokens as transformers'
 * `truncation=True` does.
 *
 * @param numbers of the rows in their file; all of them if not given
 * @throws {UserError} if the special tokens leave no room for a text
 */
export const encodeClassRows = async (
  rows: readonly ClassRow[],
  {
    tokenizer,
    maxLength,
    numbers = rows.map((_, row) => row),
    encoding,
  }: {
    readonly tokenizer: Tokenizer;
    readonly maxLength: number;
    readonly numbers?: readonly number[];
    readonly encoding?: EncodeTextsOptions;
  },
): Promise<EncodedClasses> => {
  const templates = specialTokensOf(tokenizer);
  const kept = numbers.flatMap((row) => rows[row] ?? []);
  const template = kept.some(({ pair }) => pair !== undefined) ? templates.pair : templates.single;
  const room = maxLength - countTokens(template);
  if (room < 1)
    throw new UserError(
      `Cannot use --max_length ${String(maxLength)}: found ${String(countTokens(template))} special tokens around a text, expected room for the text`,
    );
  const { table } = await encodeTexts(
    tokenizer,
    kept.flatMap(({ text, pair }) => (pair === undefined ? [text] : [text, pair])),
    encoding,
  );
  const hasTypes = template.some(({ type }) => type !== 0);
  const cut: number[] = [];
  const wholeLengths: number[] = [];
  let at = 0;
  const encoded = kept.map(({ pair, label }, i): EncodedRow => {
    const row = numbers[i] ?? i;
    const first = table.at(at++);
    const second = pair === undefined ? new Int32Array() : table.at(at++);
    const [a, b] = fitLongestFirst(first.length, second.length, room);
    if (a + b < first.length + second.length) cut.push(row);
    wholeLengths.push(maxLength - room + first.length + second.length);
    const parts = template.map((piece) => {
      if (piece.kind === "tokens") return { ids: piece.ids, type: piece.type };
      const ids = piece.of === "first" ? first.subarray(0, a) : second.subarray(0, b);
      return { ids, type: piece.type };
    });
    const ids = Int32Array.from(parts.flatMap((part) => [...part.ids]));
    return {
      row,
      ids,
      contextLength: ids.length,
      classLabel: label,
      ...(hasTypes && {
        tokenTypes: Uint8Array.from(parts.flatMap((part) => Array.from(part.ids, () => part.type))),
      }),
    };
  });
  return { rows: encoded, cut, wholeLengths };
};
