import type { Graph } from "../graph/graph.js";
import type { Value } from "../graph/op.js";
import type { LinearModule } from "../models/model.js";
import type { Model } from "../models/model.js";
import type { Dropout } from "../models/blocks/dropout.js";
import { kaimingUniform, zeros, type Initializer } from "./init.js";

export interface ParameterSpec {
  readonly shape: readonly number[];
  readonly init: Initializer;
  /** False: saved with the adapter, but frozen. */
  readonly trainable: boolean;
}

/** The frozen tensors of a linear layer in float32: weight [out, in], bias [out]. */
export interface FrozenLinear {
  readonly weight: Value;
  readonly bias: Value | undefined;
  /**
   * Makes a value of the weight's size that the backward pass reads again. It is kept until then, or made again there, as
   * createLinearAdapter chooses by what all of them together take.
   */
  readonly hold: (build: () => Value) => Value;
}

export const sparseMethods = ["magnitude", "topk", "l1"] as const;
export const sparseSchedules = ["oneshot", "gradual"] as const;

/** How Sparse LoRA prunes in training; see train/sparsity.ts. */
export interface SparsitySettings {
  /** --sparsity: the share of each matrix's elements that is zero in the end, in [0, 1). */
  readonly sparsity: number;
  /**
   * --sparse_method: the smallest elements of a matrix go (magnitude), the smallest of each of its rows (topk), or the
   * smallest of a matrix under a penalty of `l1Weight` times the sum of all magnitudes (l1).
   */
  readonly method: (typeof sparseMethods)[number];
  /** --sparse_schedule: all at `startStep`, or ever more from there to `endStep`. */
  readonly schedule: (typeof sparseSchedules)[number];
  /** Updates; undefined for a fifth and four fifths of the run. */
  readonly startStep: number | undefined;
  readonly endStep: number | undefined;
  readonly l1Weight: number;
}

/** The flags' defaults. */
export const defaultSparsity: SparsitySettings = {
  sparsity: 0.5,
  method: "magnitude",
  schedule: "gradual",
  startStep: undefined,
  endStep: undefined,
  l1Weight: 1e-4,
};

/** What the flags say; a method reads what concerns it. */
export interface MethodOptions {
  /** --r_ab */
  readonly rank: number;
  /** --lora_alpha: LoRA and its kin scale their update by alpha / rank, rsLoRA by alpha / sqrt(rank). */
  readonly alpha: number;
  /** --use_rslora: the scale alpha / sqrt(rank) in place of alpha / rank. */
  readonly rankStabilized: boolean;
  /** --lora_dropout: the share of the input's elements that the adapter does not see in training. */
  readonly dropout: number;
  /** --r_lora: the rank of HiLoRA's additive part, whose scale is alpha / additiveRank. */
  readonly additiveRank: number;
  /** --mora_type: how MoRA cuts the input and lays out the result. */
  readonly moraType: MoraType;
  /** Sparse LoRA's pruning; undefined for every other method. */
  readonly sparsity: SparsitySettings | undefined;
  /** --virtual_tokens */
  readonly virtualTokens: number;
  /** --prefix_projection: a small network makes the prefix. */
  readonly prefixProjection: boolean;
  /** --encoder_hidden_size: the inner width of what makes virtual tokens; undefined for the width of what it makes. */
  readonly encoderHiddenSize: number | undefined;
  /** --encoder_reparameterization_type: what makes p-tuning's virtual tokens. */
  readonly encoderType: EncoderType;
  /** --encoder_num_layers: of the LSTM. */
  readonly encoderLayers: number;
  /** The tokens of --prompt_init_text; empty for a random start. */
  readonly promptInitIds: readonly number[];
  /** False only under --compat=mask: with virtual tokens, the authors' program attends to padding in training. */
  readonly masksPadding: boolean;
  /** Start values of A and B, by the first letter of --init_ab's names. */
  readonly initA: Initializer;
  readonly initB: Initializer;
  readonly trainA: boolean;
  readonly trainB: boolean;
  /** --rand_R */
  readonly randomR: boolean;
  /** True where the authors' program behaves otherwise and --compat asks for it: rand_R adds the bias twice. */
  readonly biasTwice: boolean;
}

/** The options that a method reads; one that counts only beside a value of another names that value. */
export type MethodReads = { readonly [Name in keyof MethodOptions]?: true | OptionValue };

/** An option with one of its values. */
type OptionValue = {
  readonly [Name in keyof MethodOptions]: {
    readonly option: Name;
    readonly is: Extract<MethodOptions[Name], boolean | number | string>;
  };
}[keyof MethodOptions];

/** p-tuning's encoders by peft's names. */
export const encoderTypes = ["MLP", "LSTM"] as const;
export type EncoderType = (typeof encoderTypes)[number];

/** 1 shares rows and columns, for large ranks; 6 tells chunks apart by rotation, for small ones. */
export type MoraType = 1 | 6;

/** The flags' defaults. */
export const defaultMethodOptions: MethodOptions = {
  rank: 16,
  alpha: 8,
  rankStabilized: false,
  dropout: 0,
  additiveRank: 16,
  moraType: 6,
  sparsity: undefined,
  virtualTokens: 8,
  prefixProjection: false,
  encoderHiddenSize: undefined,
  encoderType: "MLP",
  encoderLayers: 2,
  promptInitIds: [],
  masksPadding: true,
  initA: kaimingUniform,
  initB: zeros,
  trainA: true,
  trainB: true,
  randomR: false,
  biasTwice: false,
};

/** How a method changes an embedding: a table [vocab, hidden] of which rows are looked up. */
export interface EmbeddingForm extends Pick<LinearMethod, "parameters" | "mergedWeight"> {
  /**
   * Rows of the changed table: [...ids.shape, hidden].
   *
   * @param frozen.rows the same rows of the frozen table
   * @param frozen.weight the frozen table [vocab, hidden] in float32
   */
  rows(
    g: Graph,
    ids: Value,
    frozen: { readonly rows: Value; readonly weight: () => Value },
    parameters: ParameterValues,
    options: MethodOptions,
  ): Value;
}

/**
 * A method that changes linear layers: its parameters, how a layer computes, and the merged weight.
 *
 * `linear` and `mergedWeight` come from one expression, so that a merged model is the adapted one. The options that they
 * get are those of the module: its own rank and alpha.
 */
export interface LinearMethod {
  readonly kind: "linear";
  readonly name: string;
  /** With `dropout` among them, training may drop elements of the input, and `linear` uses its `dropout`. */
  readonly reads: MethodReads;
  /** Parameters by their short names ("A", "B"); the full name is `<module path>.<short name>`. */
  parameters(module: LinearModule, options: MethodOptions): Readonly<Record<string, ParameterSpec>>;
  /** How it changes the embedding; a method without it leaves embedding and head alone. */
  readonly embedding?: EmbeddingForm | undefined;
  /** The scale of an update that is scale * B A and nothing else, A [rank, in] and B [out, rank]; absent: it is another. */
  readonly lowRankScale?: (options: MethodOptions) => number;
  /** What is wrong with the rank for this module, as "expected ..."; absent, it goes from 1 to the smaller side. */
  readonly unfit?: (module: LinearModule, options: MethodOptions) => string | undefined;
  linear(
    g: Graph,
    x: Value,
    frozen: FrozenLinear,
    parameters: Readonly<Record<string, Value>>,
    options: MethodOptions,
    dropout: Dropout,
  ): Value;
  mergedWeight(
    g: Graph,
    weight: Value,
    parameters: Readonly<Record<string, Value>>,
    options: MethodOptions,
  ): Value;
}

/** The parameters and the merged weight of one module: an embedding has forms of its own. */
export const formOf = (
  { embedding, ...method }: LinearMethod,
  { table, path }: LinearModule,
): Pick<LinearMethod, "parameters" | "mergedWeight"> => {
  if (table === undefined) return method;
  if (!embedding) throw new RangeError(`Cannot use ${method.name} on ${path}`);
  return table === "embedding" ? embedding : method;
};

/** Full fine-tuning: the model's own tensors train. */
export interface FullMethod {
  readonly kind: "full";
  readonly name: string;
  readonly reads: MethodReads;
}

/**
 * Virtual tokens in front of the text, which alone train: rows [virtual tokens, width], as such or made by a small encoder.
 *
 * The text's columns are numbered from --virtual_tokens on, padding included.
 */
export interface VirtualTokenMethod {
  readonly kind: "virtual";
  readonly name: string;
  readonly reads: MethodReads;
  /** What a row is: keys and values of every layer, or an embedding. */
  readonly form: "keys-values" | "embeddings";
  /** The rows' name: that of the one parameter where nothing makes them. */
  readonly result: "table" | "embedding";
  /** Parameters by their full names. */
  parameters(model: Model, options: MethodOptions): Readonly<Record<string, ParameterSpec>>;
  /** The rows from the parameters' values. */
  rows(g: Graph, parameters: ParameterValues, options: MethodOptions): Value;
}

/** The virtual tokens of an adapter: how many, what the model gets of them, and how that is computed. */
export interface VirtualTokens {
  readonly count: number;
  readonly form: VirtualTokenMethod["form"];
  /** The name of the parameter that holds the rows where no encoder makes them. */
  readonly result: VirtualTokenMethod["result"];
  /** Whether the rows are that parameter, and not what an encoder makes of others. */
  readonly baked: boolean;
  /** False: padding is attended to, as the authors' program does (--compat=mask). */
  readonly masksPadding: boolean;
  /** The rows [count, width], from the values of the adapter's parameters. */
  rows(g: Graph, parameter: (name: string) => Value): Value;
}

export type PeftMethod = LinearMethod | FullMethod | VirtualTokenMethod;

/** The values of one module's parameters, by their short names. */
export type ParameterValues = Readonly<Record<string, Value>>;
