import type { Op, Value } from "../op.js";

/** y = x: gives a graph input or weight the name of an output. Source: ONNX Identity, opset 16. */
export const identity: Op<readonly [x: Value]> = {
  opType: "Identity",
  inHalf: "exact",
  infer: ([x]) => [{ dtype: x.dtype, shape: x.shape }],
  gradient: ({ dy }) => [dy],
  fold: ([x]) => x?.data,
};
