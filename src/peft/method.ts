import type { Graph } from "../graph/graph.js";
import type { Value } from "../graph/op.js";
import type { LinearModule } from "../models/adapter.js";
import type { Initializer } from "./init.js";

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

export interface MethodOptions {
  /** --r_ab */
  readonly rank: number;
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

/**
 * A method that changes linear layers: its parameters, how a layer computes, and the merged weight.
 *
 * `linear` and `mergedWeight` come from one expression, so that a merged model is the adapted one.
 */
export interface LinearMethod {
  readonly kind: "linear";
  readonly name: string;
  /** Parameters by their short names ("A", "B"); the full name is `<module path>.<short name>`. */
  parameters(module: LinearModule, options: MethodOptions): Readonly<Record<string, ParameterSpec>>;
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
