import type { Dim, Shape } from "../core/dim.js";
import type { DType, TypedArray } from "../core/dtype.js";

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

/** One application of an op: its inputs, and the outputs that it made. */
export interface Node {
  readonly id: number;
  readonly op: Op;
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
  readonly attrs: object;
  /** The module path that was being built, for error messages and profiles. */
  readonly scope: string;
  /** True for what the reverse walk made. */
  readonly backward: boolean;
  /** Name of the part that may be computed again in the backward pass instead of being kept. */
  readonly segment: string | undefined;
  /** Which of the layers that follow each other it belongs to, in both passes; undefined before, behind and beside them. */
  readonly layer: number | undefined;
}

/** A small tensor whose elements are known before the graph runs. */
export interface Elements extends TensorType {
  readonly shape: readonly number[];
  readonly data: TypedArray;
}

/** An attribute of a node in the ONNX file. */
export type OnnxAttribute =
  | { readonly int: number }
  | { readonly float: number }
  | { readonly ints: readonly number[] }
  | { readonly string: string };

/** Which axes a reduction is over, and whether they stay as 1. */
export interface Reduction {
  readonly axes: readonly number[];
  readonly keepdims?: boolean;
}

/**
 * What formulas are written in: gradients and lowered forms of ops. `Graph` is one.
 *
 * It has the ops that a formula has asked for, so that an op's file needs no other file of the graph.
 */
export interface Builder {
  /** One number as a tensor of rank 0. */
  scalar(number: number, dtype: DType): Value;
  zeros(dtype: DType, shape: Shape): Value;
  add(a: Value, b: Value): Value;
  sub(a: Value, b: Value): Value;
  mul(a: Value, b: Value): Value;
  div(a: Value, b: Value): Value;
  neg(x: Value): Value;
  exp(x: Value): Value;
  log(x: Value): Value;
  sqrt(x: Value): Value;
  tanh(x: Value): Value;
  reciprocal(x: Value): Value;
  sigmoid(x: Value): Value;
  where(condition: Value, a: Value, b: Value): Value;
  lessOrEqual(a: Value, b: Value): Value;
  logSoftmax(x: Value, attrs: { readonly axis: number }): Value;
  cast(x: Value, to: DType): Value;
  matmul(
    a: Value,
    b: Value,
    options?: { readonly transA?: boolean; readonly transB?: boolean; readonly alpha?: number },
  ): Value;
  reshape(x: Value, shape: Shape, options?: { readonly sameCount?: boolean }): Value;
  expand(x: Value, shape: Shape): Value;
  transpose(x: Value, perm: readonly number[]): Value;
  concat(values: readonly Value[], axis: number): Value;
  split(x: Value, sizes: readonly Dim[], axis: number): readonly Value[];
  pad(
    x: Value,
    attrs: { readonly axis: number; readonly before: number; readonly after: Dim },
  ): Value;
  gather(x: Value, indices: Value, attrs: { readonly axis: number }): Value;
  gatherElements(x: Value, indices: Value, attrs: { readonly axis: number }): Value;
  scatterElements(
    data: Value,
    indices: Value,
    updates: Value,
    attrs: { readonly axis: number; readonly reduction: "add" | "none" },
  ): Value;
  reduceSum(x: Value, attrs: Reduction): Value;
  reduceMean(x: Value, attrs: Reduction): Value;
  reduceMax(x: Value, attrs: Reduction): Value;
  rotaryEmbedding(x: Value, positions: Value, cos: Value, sin: Value): Value;
}

/** What a gradient rule is given. */
export interface GradientContext<Inputs, Attrs> {
  readonly g: Builder;
  readonly inputs: Inputs;
  readonly outputs: readonly Value[];
  /** The gradient of the first output; for a rule with `takesAllGradients`, of the first one that has any. */
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
  /** What messages call it, where that is not `opType`. No two ops have one name. */
  readonly name?: string;
  /** "" is ai.onnx. */
  readonly domain?: "com.microsoft";
  /** @throws {RangeError} if dtypes or shapes do not fit, naming them */
  infer(inputs: Inputs, attrs: Attrs): readonly TensorType[];
  gradient?(context: GradientContext<Inputs, Attrs>): readonly (Value | undefined)[];
  /** True where the rule reads `dOutputs`; without it, only the first output can have a gradient. */
  readonly takesAllGradients?: true;
  /** True for an op whose outputs count as constants, though its inputs change. */
  readonly stopsGradient?: true;
  /**
   * What becomes of it in 16 bits, see passes/in-precision.ts: "product": computed in them; "exact": it moves or chooses elements, or
   * turns their sign, so that it rounds nothing; "elementwise": arithmetic that may follow its inputs. Default: float32 alone.
   */
  readonly inHalf?: "product" | "exact" | "elementwise";
  attributes?(attrs: Attrs): Readonly<Record<string, OnnxAttribute>>;
  /**
   * The same outputs from other ops, for devices that have no kernel for this one with this dtype.
   */
  lower?(g: Builder, inputs: Inputs, attrs: Attrs): readonly Value[];
  /**
   * The elements of the only output, of the given shape, from those of the inputs: for an op whose result is exact or
   * correctly rounded, so that computing it here changes no bit. See passes/fold-constants.ts.
   * @returns undefined where they are the runtime's affair
   */
  fold?(
    inputs: readonly Elements[],
    attrs: Attrs,
    shape: readonly number[],
  ): TypedArray | undefined;
}

/** What messages call an op. */
export const opName = ({ name, opType }: Op): string => name ?? opType;

/** Dtypes and shapes, as messages show them. */
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
