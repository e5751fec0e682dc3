import { dtypes, isFloat, type DType } from "../../core/dtype.js";
import type { Op, Value } from "../op.js";

/** The same numbers in another dtype; dx = dy in x's dtype. Source: ONNX Cast, opset 13. */
export const cast: Op<readonly [x: Value], { readonly to: DType }> = {
  opType: "Cast",
  infer: ([x], { to }) => [{ dtype: to, shape: x.shape }],
  attributes: ({ to }) => ({ to: { int: dtypes[to].onnx } }),
  gradient: ({ g, dy, inputs: [x] }) => [isFloat(x.dtype) ? g.cast(dy, x.dtype) : undefined],
};
