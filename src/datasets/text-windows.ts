import { noLoss, type EncodedRow } from "./encoded-rows.js";

/** Where a begin-of-text token stands: nowhere, once in front of each text, or in front of every window. */
export const bosRules = ["none", "text", "window"] as const;
/** A rule for the begin-of-text token; see bosRules. */
export type BosRule = (typeof bosRules)[number];

/** How long text is cut into windows, in tokens. */
export interface WindowOptions {
  /** The most tokens in a window, a begin-of-text token included. */
  readonly maxLength: number;
  /** Tokens from the beginning of one window to that of the next. */
  readonly stride: number;
  /** Stands in front of every window, and is predicted in none. */
  readonly windowBos?: number | undefined;
}

/**
 * A text of tokens as windows of which each predicts what the ones before it have not: those tokens are its labels.
 *
 * Window k begins at token k * stride and ends `maxLength` tokens later, or with the text. With a stride below the length every token but the
 * first is predicted exactly once; with a stride of the whole length the first token of each window is not, unless
 * `windowBos` stands before it. Source: Hugging Face's guide "Perplexity of fixed-length models", whose loop this is.
 * @param text its number in its file, and its tokens
 * @throws {RangeError} if the stride is not from 1 to the tokens that a window has room for
 */
export const cutWindows = (
  { row, ids }: Pick<EncodedRow, "row" | "ids">,
  { maxLength, stride, windowBos }: WindowOptions,
): readonly EncodedRow[] => {
  const front = windowBos === undefined ? 0 : 1;
  const room = maxLength - front;
  if (!(stride >= 1 && stride <= room))
    throw new RangeError(`found stride ${String(stride)}, expected 1 to ${String(room)}`);
  const windows: EncodedRow[] = [];
  for (let [begin, predicted] = [0, 0]; predicted < ids.length; begin += stride) {
    const end = Math.min(begin + room, ids.length);
    const window = new Int32Array(front + end - begin);
    if (windowBos !== undefined) window[0] = windowBos;
    window.set(ids.subarray(begin, end), front);
    const labels = window.slice().fill(noLoss, 0, front + predicted - begin);
    windows.push({ row, ids: window, contextLength: 0, labels });
    predicted = end;
  }
  return windows;
};
