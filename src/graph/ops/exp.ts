import type { Op, Value } from "../op.js";
import { inferFloat } from "./elementwise.js";

/**
 * y = e^x. dx = dy * y. Source: ONNX Exp, opset 13.
 */
export const exp: Op<readonly [x: Value]> = {
  opType: "Exp",
  infer: ([x]) => [inferFloat("Exp", x)],
  gradient: ({ g, dy, outputs }) => [g.mul(dy, outputs[0] as Value)],
};
