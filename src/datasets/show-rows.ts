import { noLoss, type EncodedRow } from "./encoded-rows.js";

/** A row as it is trained on, and what is not in it. */
export interface ShownRow {
  readonly encoded: EncodedRow;
  readonly path: string;
  /** The name of the row's class. */
  readonly label?: string | undefined;
  /** In words, what a limit has cut off. */
  readonly cut?: string | undefined;
}

const columns = 80;
const margin = "        ";

const widthOf = (character: string): number =>
  /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60\uffe0-\uffe6]|[\u{1f300}-\u{1faff}]|[\u{20000}-\u{3fffd}]/u.test(
    character,
  )
    ? 2
    : 1;

/** Pieces of a line, each at most so many columns wide. */
const wrap = (line: string, width: number): readonly string[] => {
  const pieces: string[] = [];
  let [piece, used] = ["", 0];
  for (const character of line) {
    const wide = widthOf(character);
    if (used + wide > width) {
      // After a blank, if there is one that is not too far back.
      const blank = piece.lastIndexOf(" ") + 1;
      const at = blank > piece.length / 2 ? blank : piece.length;
      pieces.push(piece.slice(0, at));
      piece = piece.slice(at);
      used = [...piece].reduce((sum, one) => sum + widthOf(one), 0);
    }
    piece += character;
    used += wide;
  }
  return [...pieces, piece];
};

/** Line ends stay visible; other control characters are written as escapes, so that a row cannot steer the terminal. */
const visible = (text: string): string =>
  text
    .replaceAll("\n", "\u23ce\n")
    // eslint-disable-next-line no-control-regex -- these are what it is about
    .replace(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/g, (control) =>
      control === "\t" ? "\\t" : `\\x${control.charCodeAt(0).toString(16).padStart(2, "0")}`,
    );

const block = (label: string, text: string): readonly string[] =>
  visible(text)
    .replace(/\n$/, "")
    .split("\n")
    .flatMap((line) => wrap(line, columns - margin.length))
    .map((line) => `${label.padEnd(margin.length)}${line}`.trimEnd());

/**
 * Rows as they are trained on, in lines of 80 columns: a head with counts, then the text, where `loss` stands before what is
 * learnt, and at the end what was cut. A line end of the text shows as ⏎.
 *
 * @param decode the text of ids, special tokens included
 */
export const showRows = (
  rows: readonly ShownRow[],
  decode: (ids: readonly number[]) => string,
): readonly string[] =>
  rows.flatMap(({ encoded, path, label, cut }) => {
    const { row, ids, labels, contextLength } = encoded;
    const learns = (i: number): boolean =>
      i > 0 && (labels === undefined ? i >= contextLength : labels[i] !== noLoss);
    const blocks: { readonly loss: boolean; readonly ids: number[] }[] = [];
    let learnt = 0;
    for (const [i, id] of ids.entries()) {
      const loss = learns(i);
      if (loss) learnt++;
      const last = blocks.at(-1);
      if (last?.loss === loss) last.ids.push(id);
      else blocks.push({ loss, ids: [id] });
    }
    return [
      `Row ${String(row + 1)} of ${path}: ${String(ids.length)} tokens, ${label === undefined ? `loss on ${String(learnt)}` : `label ${label}`}`,
      ...blocks.flatMap((part) => block(part.loss ? "  loss" : "", decode(part.ids))),
      ...(cut === undefined ? [] : block("  cut", cut)),
    ];
  });

/** `12 tokens at its end: "..."`, with the beginning of what was cut. */
export const describeCut = (text: string, tokens: number): string => {
  const quoted = JSON.stringify(text.length > 120 ? `${text.slice(0, 120)}...` : text);
  return `${String(tokens)} token${tokens === 1 ? "" : "s"} at its end: ${quoted}`;
};
