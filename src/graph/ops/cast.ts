import { allocate, dtypes, isFloat, type DType } from "../../core/dtype.js";
import type { Op, Value } from "../op.js";

/** The same numbers in another dtype; dx = dy in x's dtype. Source: ONNX Cast, opset 13. */
export const cast: Op<readonly [x: Value], { readonly to: DType }> = {
  opType: "Cast",
  infer: ([x], { to }) => [{ dtype: to, shape: x.shape }],
  attributes: ({ to }) => ({ to: { int: dtypes[to].onnx } }),
  gradient: ({ g, dy, inputs: [x] }) => [isFloat(x.dtype) ? g.cast(dy, x.dtype) : undefined],
  // A fraction that would have to become a whole number: how that is cut is the runtime's affair.
  fold([x], { to }) {
    if (!x) return undefined;
    const data = allocate(to, x.data.length);
    for (const [i, element] of x.data.entries()) {
      const number = Number(element);
      if (to === "bool") data[i] = Number(number !== 0);
      else if (!(data instanceof BigInt64Array)) data[i] = number;
      else if (Number.isSafeInteger(number)) data[i] = BigInt(element);
      else return undefined;
    }
    return data;
  },
};
