/** A row as token ids, not padded. */
export interface EncodedRow {
  /** Number of the row in its file, from 0. */
  readonly row: number;
  readonly ids: Int32Array;
  /** ids[0..contextLength) carry no loss. */
  readonly contextLength: number;
  /** One a token, not shifted, -100 = no loss. Without it every token behind the context is its own label. */
  readonly labels?: Int32Array | undefined;
  /** The number of the row's class. A row with one has no other labels. */
  readonly classLabel?: number | undefined;
  /** One a token, of two texts; without it all are 0. */
  readonly tokenTypes?: Uint8Array | undefined;
  /** One a token, 1 = real. Only where pre-tokenized data give it; without it every token is real. */
  readonly attentionMask?: Uint8Array | undefined;
}

/** The label of a position without loss, in PyTorch and here. */
export const noLoss = -100;

/** Labelled tokens of a row, or 1 for its class. Position 0 does not count: nothing comes before it that could predict it. */
export const countLabels = ({ ids, contextLength, labels, classLabel }: EncodedRow): number => {
  if (classLabel !== undefined) return 1;
  if (labels === undefined) return ids.length - Math.max(contextLength, 1);
  let count = 0;
  for (let i = 1; i < labels.length; i++) if (labels[i] !== noLoss) count++;
  return count;
};
