import type { Op, Value } from "../op.js";
import { inferFloat } from "./elementwise.js";

/**
 * y = ln x. dx = dy / x. Source: ONNX Log, opset 13.
 */
export const log: Op<readonly [x: Value]> = {
  opType: "Log",
  infer: ([x]) => [inferFloat("Log", x)],
  gradient: ({ g, dy, inputs: [x] }) => [g.div(dy, x)],
};
