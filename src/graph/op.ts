import type { Shape } from "../core/dim.js";
import type { DType } from "../core/dtype.js";
import type { Graph } from "./graph.js";

/** What is known of a tensor before it exists. */
export interface TensorType {
  readonly dtype: DType;
  readonly shape: Shape;
}

/** A tensor of the graph: one output of a node, or an input, a weight or a constant (then `producer` is undefined). */
export interface Value extends TensorType {
  readonly id: number;
  readonly producer: Node | undefined;
  /** Which output of its producer this is. */
  readonly index: number;
}

export interface Node {
  readonly id: number;
  /** The key of the op in ops/registry.ts. */
  readonly op: string;
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
  readonly attrs: object;
  /** The module path that was being built, for error messages and profiles. */
  readonly scope: string;
  /** True for what the reverse walk made. */
  readonly backward: boolean;
  /** Name of the part that may be computed again in the backward pass instead of being kept. */
  readonly segment: string | undefined;
}

export type OnnxAttribute =
  | { readonly int: number }
  | { readonly float: number }
  | { readonly ints: readonly number[] }
  | { readonly string: string };

export interface GradientContext<Inputs, Attrs> {
  readonly g: Graph;
  readonly inputs: Inputs;
  readonly outputs: readonly Value[];
  /** The gradient of the first output. */
  readonly dy: Value;
  /** All gradients, by output; undefined where the loss does not depend on that output. */
  readonly dOutputs: readonly (Value | undefined)[];
  readonly attrs: Attrs;
  /** @throws {RangeError} always: names the node, its place and types, and what the rule expects instead */
  readonly refuse: (expected: string) => never;
}

/**
 * What an op is: its name in ONNX, its shape inference, its gradient.
 *
 * A gradient rule is a formula: un-broadcasting and summing belong to the reverse walk, dropping what nobody reads to
 * `prune`. A rule gives undefined for an input that can have no gradient (indices, shapes, masks).
 */
export interface Op<
  Inputs extends readonly Value[] = readonly Value[],
  Attrs extends object = object,
> {
  /** The node's op_type in the ONNX file. */
  readonly opType: string;
  /** "" is ai.onnx. */
  readonly domain?: "com.microsoft";
  /** @throws {RangeError} if dtypes or shapes do not fit, naming them */
  infer(inputs: Inputs, attrs: Attrs): readonly TensorType[];
  gradient?(context: GradientContext<Inputs, Attrs>): readonly (Value | undefined)[];
  /** True where the rule reads `dOutputs`; without it, only the first output can have a gradient. */
  readonly takesAllGradients?: true;
  /** True for an op whose outputs count as constants, though its inputs change. */
  readonly stopsGradient?: true;
  attributes?(attrs: Attrs): Readonly<Record<string, OnnxAttribute>>;
  /**
   * The same outputs from other ops, where the provider has no kernel for this one with this dtype.
   * @returns undefined where the op can stay
   */
  lower?(g: Graph, inputs: Inputs, attrs: Attrs): readonly Value[] | undefined;
}

export const describe = (values: readonly TensorType[]): string =>
  values.map(({ dtype, shape }) => `${dtype} [${shape.join(", ")}]`).join(" and ");

/** @throws {RangeError} always: `Cannot build <op>: found <types>, expected <expected>` */
export const refuse = (op: string, found: readonly TensorType[], expected: string): never => {
  throw new RangeError(`Cannot build ${op}: found ${describe(found)}, expected ${expected}`);
};

/** A negative axis counted from the end. @throws {RangeError} if it is outside the rank */
export const normalizeAxis = (op: string, axis: number, input: TensorType): number => {
  const rank = input.shape.length;
  const positive = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(axis) || positive < 0 || positive >= rank)
    refuse(op, [input], `an axis in [-${String(rank)}, ${String(rank)}), not ${String(axis)}`);
  return positive;
};

/** Whether two tensors have one shape. */
export const sameShapes = (a: TensorType, b: TensorType): boolean =>
  a.shape.join() === b.shape.join();
