import { encodeTexts, type EncodeTextsOptions } from "../tokenizer/encode-texts.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";
import type { EncodedRow } from "./encoded-rows.js";

/**
 * The text in pieces that a tokenizer can take one by one: cut behind line ends, where the white space that ends there is one word
 * for the tokenizers in use whether or not something follows. They give a space to the word behind it.
 */
const cutAtLines = (text: string): readonly string[] =>
  text.split(/(?<=\n)(?= \S)|(?<=\S\n)(?=\S)/);

/** Whether a tokenizer gives the pieces of cutAtLines the tokens that they have in one text: tried on the first of them. */
const takesPieces = (tokenizer: Tokenizer, pieces: readonly string[]): boolean => {
  const tried = pieces.slice(0, 64);
  const whole = tokenizer.encode(tried.join(""));
  const parts = tried.flatMap((piece) => tokenizer.encode(piece));
  return whole.length === parts.length && whole.every((id, i) => id === parts[i]);
};

/**
 * The tokens of a long text. Nothing is added to them.
 *
 * It is cut at its lines where the tokenizer lets that be, so that threads share the work and the cache keeps it; a tokenizer that
 * begins every text with a space or a mark of its own gets it in one piece.
 */
export const encodeLongText = async (
  tokenizer: Tokenizer,
  text: string,
  options?: EncodeTextsOptions,
): Promise<Int32Array> => {
  const pieces = cutAtLines(text);
  const { table } = await encodeTexts(
    tokenizer,
    takesPieces(tokenizer, pieces) ? pieces : [text],
    options,
  );
  return table.allIds();
};

/**
 * Rows of `blockSize` tokens, end to end; the last one is shorter where it does not come out even, and left out where it is a
 * single token, which has nothing to predict it. Every token is a label.
 *
 * Source: group_texts of transformers' run_clm.py, which drops the last block.
 */
export const packBlocks = (ids: Int32Array, blockSize: number): readonly EncodedRow[] =>
  Array.from({ length: Math.ceil(ids.length / blockSize) }, (_, row): EncodedRow => ({
    row,
    ids: ids.subarray(row * blockSize, (row + 1) * blockSize),
    contextLength: 0,
  })).filter(({ ids: block }) => block.length > 1);
