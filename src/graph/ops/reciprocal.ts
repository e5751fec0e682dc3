import type { Op, Value } from "../op.js";
import { inferFloat } from "./elementwise.js";
import { foldUnary } from "./folding.js";

/**
 * y = 1 / x. dx = -dy * y^2. Source: ONNX Reciprocal, opset 13.
 */
export const reciprocal: Op<readonly [x: Value]> = {
  opType: "Reciprocal",
  infer: ([x]) => [inferFloat("Reciprocal", x)],
  gradient: ({ g, dy, outputs }) => {
    const y = outputs[0] as Value;
    return [g.neg(g.mul(dy, g.mul(y, y)))];
  },
  fold: foldUnary((x) => 1 / x),
};
