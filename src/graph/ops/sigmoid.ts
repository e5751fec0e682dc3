import type { Op, Value } from "../op.js";
import { inferFloat } from "./elementwise.js";

/**
 * y = 1 / (1 + e^-x). dx = dy * y * (1 - y). Source: ONNX Sigmoid, opset 13.
 */
export const sigmoid: Op<readonly [x: Value]> = {
  opType: "Sigmoid",
  inHalf: "elementwise",
  infer: ([x]) => [inferFloat("Sigmoid", x)],
  gradient: ({ g, dy, outputs }) => {
    const y = outputs[0] as Value;
    return [g.mul(dy, g.mul(y, g.sub(g.scalar(1, y.dtype), y)))];
  },
};
