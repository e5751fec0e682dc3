import type { Op, Value } from "../op.js";
import { inferBroadcast } from "./elementwise.js";

/** y = a <= b, bool, with broadcasting. Source: ONNX LessOrEqual, opset 16. */
export const lessOrEqual: Op<readonly [a: Value, b: Value]> = {
  opType: "LessOrEqual",
  infer: ([a, b]) => [{ dtype: "bool", shape: inferBroadcast("LessOrEqual", a, b).shape }],
};
