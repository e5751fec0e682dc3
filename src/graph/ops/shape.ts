import type { Op, Value } from "../op.js";

/** The sizes of x at run time, int64 [rank]. Source: ONNX Shape, opset 15. */
export const shape: Op<readonly [x: Value]> = {
  opType: "Shape",
  infer: ([x]) => [{ dtype: "int64", shape: [x.shape.length] }],
};
