import type { Op, Value } from "../op.js";
import { inferFloat } from "./elementwise.js";
import { foldUnary } from "./folding.js";

/**
 * y = -x. dx = -dy. Source: ONNX Neg, opset 13.
 */
export const neg: Op<readonly [x: Value]> = {
  opType: "Neg",
  inHalf: "exact",
  infer: ([x]) => [inferFloat("Neg", x)],
  gradient: ({ g, dy }) => [g.neg(dy)],
  fold: foldUnary((x) => -x),
};
