import type { Op, Value } from "../op.js";
import { inferFloat } from "./elementwise.js";

/**
 * y = max(x, 0). dx = dy where y is above 0, as in PyTorch: at 0 the gradient is 0. Source: ONNX Relu, opset 14.
 */
export const relu: Op<readonly [x: Value]> = {
  opType: "Relu",
  inHalf: "exact",
  infer: ([x]) => [inferFloat("Relu", x)],
  gradient: ({ g, dy, outputs }) => {
    const y = outputs[0] as Value;
    const zero = g.scalar(0, y.dtype);
    return [g.where(g.lessOrEqual(y, zero), zero, dy)];
  },
};
