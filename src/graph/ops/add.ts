import type { Op, Value } from "../op.js";
import { inferBroadcast } from "./elementwise.js";
import { foldBinary } from "./folding.js";

/**
 * y = a + b, with broadcasting.
 *
 * da = dy, db = dy. Source: ONNX Add, opset 14.
 */
export const add: Op<readonly [a: Value, b: Value]> = {
  opType: "Add",
  inHalf: "elementwise",
  infer: ([a, b]) => [inferBroadcast("Add", a, b)],
  gradient: ({ dy }) => [dy, dy],
  fold: foldBinary(
    (a, b) => a + b,
    (a, b) => a + b,
  ),
};
