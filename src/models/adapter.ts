import type { Value } from "../graph/op.js";

/**
 * A linear layer of a model: y = x weight^T + bias, weight [outFeatures, inFeatures]. Or a table with a row a token: the output
 * head, which is such a layer, or the embedding, whose rows are looked up.
 */
export interface LinearModule {
  /** Its path in the checkpoint, such as "model.layers.0.self_attn.q_proj". */
  readonly path: string;
  readonly inFeatures: number;
  /** Of a table, the vocabulary's size. */
  readonly outFeatures: number;
  readonly bias: boolean;
  /** Absent for layers of the blocks. */
  readonly table?: "embedding" | "head";
  /** The tensor of its weight where that is not `<path>.weight`: a tied head's is the embedding. */
  readonly weight?: string;
}

/** The name of the tensor that a module computes with. */
export const weightOf = ({ path, weight = `${path}.weight` }: LinearModule): string => weight;

/** What a layer's attention computes with; rotary embedding has been applied to q and k. */
export interface AttentionInputs {
  readonly layer: number;
  /** [batch, seq, heads * headDim] */
  readonly q: Value;
  /** [batch, seq, kvHeads * headDim] */
  readonly k: Value;
  /** [batch, seq, kvHeads * headDim] */
  readonly v: Value;
}

/**
 * What a model leaves open, filled by training and decoding: where its tensors come from, how a linear layer computes
 * (that is where a PEFT method lives), and what attention attends to (the batch itself, or a cache).
 */
export interface ModelHooks {
  /** A tensor of the checkpoint in float32. `kept`: backward needs it right after forward, so it is not made again. */
  weight(name: string, options?: { readonly kept?: boolean }): Value;
  /** Rows of an embedding table in float32: [...ids.shape, hidden]. */
  embed(name: string, ids: Value): Value;
  /** y [rows, outFeatures] of x [rows, inFeatures]; the output head is among the modules. */
  linear(x: Value, module: LinearModule): Value;
  /** The context vectors, [batch * seq, heads * headDim]. */
  attend(inputs: AttentionInputs): Value;
  /** Cuts [batch * seq, width] down to the rows that are needed after the last layer's attention. */
  readonly lastRows?: (x: Value) => Value;
}
