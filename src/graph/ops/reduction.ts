import { type Dim, type Shape } from "../../core/dim.js";
import { normalizeAxis, refuse, type TensorType, type Value } from "../op.js";

/** The axes to reduce, negative ones from the end, and whether they stay with size 1. */
export interface ReductionAttrs {
  readonly axes: readonly number[];
  readonly keepdims: boolean;
}

const reducedAxes = (op: string, x: Value, axes: readonly number[]): ReadonlySet<number> =>
  new Set(axes.map((axis) => normalizeAxis(op, axis, x)));

/** The result's type: reduced axes become 1, or vanish without keepdims. */
export const inferReduction = (
  op: string,
  x: Value,
  { axes, keepdims }: ReductionAttrs,
): TensorType => {
  // ONNX takes no axes for all axes.
  if (axes.length === 0) refuse(op, [x], "at least one axis");
  const reduced = reducedAxes(op, x, axes);
  const shape: Dim[] = x.shape.map((dim, i) => (reduced.has(i) ? 1 : dim));
  return { dtype: x.dtype, shape: keepdims ? shape : shape.filter((_, i) => !reduced.has(i)) };
};

/** x's shape with 1 in place of the reduced axes: what the gradient is brought to before it is spread. */
export const keptShape = (x: Value, axes: readonly number[]): Shape => {
  const reduced = reducedAxes("a reduction", x, axes);
  return x.shape.map((dim, i) => (reduced.has(i) ? 1 : dim));
};
