/** The values of --task. */
export const taskNames = ["causal-lm", "sequence-classification"] as const;
/** A value of --task. */
export type TaskName = (typeof taskNames)[number];

/** Token ids of one micro-batch, padded to a rectangle. */
export interface TokenBatch {
  readonly batch: number;
  readonly seq: number;
  /** [batch * seq] */
  readonly inputIds: BigInt64Array;
  /** [batch * seq], 1 = real */
  readonly attentionMask: Uint8Array;
  /** [batch * seq]; all 0 unless given. Of models with token types alone. */
  readonly tokenTypes?: BigInt64Array | undefined;
  /** [batch * seq], not shifted, -100 = no loss */
  readonly labels: Int32Array;
  /** [batch], the class of each row, where rows have one. */
  readonly classes?: Int32Array | undefined;
}

/** Rows of [batch * seq] that predict a label, and the labels. */
export interface LabelledRows {
  readonly rows: BigInt64Array;
  readonly ids: BigInt64Array;
}

/**
 * What a model learns of a batch: which of its rows [batch * seq] predict what. The loss is the cross entropy of these rows' logits,
 * which are tokens or classes as the model has it, so that both tasks have one graph.
 */
export interface Task {
  readonly name: TaskName;
  labelled(batch: TokenBatch): LabelledRows;
}
