import type { Graph } from "../graph/graph.js";
import type { Value } from "../graph/op.js";
import type { LinearModule } from "../models/adapter.js";
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
}

/** What the flags say; a method reads what concerns it. */
export interface MethodOptions {
  /** --r_ab */
  readonly rank: number;
  /** --lora_alpha: LoRA and its kin scale their update by alpha / rank, rsLoRA by alpha / sqrt(rank). */
  readonly alpha: number;
  /** --r_lora: the rank of HiLoRA's additive part, whose scale is alpha / additiveRank. */
  readonly additiveRank: number;
  /** --mora_type: how MoRA cuts the input and lays out the result. */
  readonly moraType: MoraType;
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

/** 1 shares rows and columns, for large ranks; 6 tells chunks apart by rotation, for small ones. */
export type MoraType = 1 | 6;

/** The flags' defaults. */
export const defaultMethodOptions: MethodOptions = {
  rank: 16,
  alpha: 8,
  additiveRank: 16,
  moraType: 6,
  initA: kaimingUniform,
  initB: zeros,
  trainA: true,
  trainB: true,
  randomR: false,
  biasTwice: false,
};

/**
 * A method that changes linear layers: its parameters, how a layer computes, and the merged weight.
 *
 * `linear` and `mergedWeight` come from one expression, so that a merged model is the adapted one. The options that they
 * get are those of the module: its own rank and alpha.
 */
export interface LinearMethod {
  readonly kind: "linear";
  readonly name: string;
  /** Parameters by their short names ("A", "B"); the full name is `<module path>.<short name>`. */
  parameters(module: LinearModule, options: MethodOptions): Readonly<Record<string, ParameterSpec>>;
  /** What is wrong with the rank for this module, as "expected ..."; absent, it goes from 1 to the smaller side. */
  readonly unfit?: (module: LinearModule, options: MethodOptions) => string | undefined;
  linear(
    g: Graph,
    x: Value,
    frozen: FrozenLinear,
    parameters: Readonly<Record<string, Value>>,
    options: MethodOptions,
  ): Value;
  mergedWeight(
    g: Graph,
    weight: Value,
    parameters: Readonly<Record<string, Value>>,
    options: MethodOptions,
  ): Value;
}

/** Full fine-tuning: the model's own tensors train. */
export interface FullMethod {
  readonly kind: "full";
  readonly name: string;
}

export type PeftMethod = LinearMethod | FullMethod;

/** The values of one module's parameters, by their short names. */
export type ParameterValues = Readonly<Record<string, Value>>;
