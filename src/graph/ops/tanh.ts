import type { Op, Value } from "../op.js";
import { inferFloat } from "./elementwise.js";

/**
 * y = tanh x. dx = dy * (1 - y^2). Source: ONNX Tanh, opset 13.
 */
export const tanh: Op<readonly [x: Value]> = {
  opType: "Tanh",
  infer: ([x]) => [inferFloat("Tanh", x)],
  gradient: ({ g, dy, outputs }) => {
    const y = outputs[0] as Value;
    return [g.mul(dy, g.sub(g.scalar(1, y.dtype), g.mul(y, y)))];
  },
};
