import type { Op, Value } from "../op.js";
import { inferFloat } from "./elementwise.js";
import { foldUnary } from "./folding.js";

/**
 * y = x^(1/2). dx = dy / (2 y). Source: ONNX Sqrt, opset 13.
 */
export const sqrt: Op<readonly [x: Value]> = {
  opType: "Sqrt",
  infer: ([x]) => [inferFloat("Sqrt", x)],
  gradient: ({ g, dy, outputs: [y] }) => [g.mul(g.scalar(0.5, dy.dtype), g.div(dy, y as Value))],
  fold: foldUnary(Math.sqrt),
};
