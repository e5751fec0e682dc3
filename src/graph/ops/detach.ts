import type { Op, Value } from "../op.js";

/** y = x, through which no gradient flows: a constant to the reverse walk. It leaves no node in the ONNX file. */
export const detach: Op<readonly [x: Value]> = {
  opType: "Identity",
  name: "Detach",
  inHalf: "exact",
  infer: ([x]) => [{ dtype: x.dtype, shape: x.shape }],
  stopsGradient: true,
  lower: (_g, [x]) => [x],
};
