import { addDims, type Dim } from "../../core/dim.js";
import { normalizeAxis, type Op, type Value } from "../op.js";

/**
 * Zeros before and after the elements of one axis. `pads` is int64 [2 * rank], `zero` a scalar. Source: ONNX Pad, opset 18.
 *
 * dx is dy without them.
 */
export const pad: Op<
  readonly [x: Value, pads: Value, zero: Value],
  { readonly axis: number; readonly before: number; readonly after: Dim }
> = {
  opType: "Pad",
  inHalf: "exact",
  infer([x], { axis, before, after }) {
    const along = normalizeAxis("Pad", axis, x);
    const shape = x.shape.map((dim, i) => (i === along ? addDims(before, dim, after) : dim));
    return [{ dtype: x.dtype, shape }];
  },
  gradient({ g, dy, inputs: [x], attrs: { axis, before, after } }) {
    const size = x.shape[normalizeAxis("Pad", axis, x)] ?? 0;
    const [, dx] = g.split(dy, [before, size, after], axis);
    return [dx, undefined, undefined];
  },
};
