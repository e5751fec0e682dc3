import type { Op, Value } from "../op.js";
import { inferBroadcast } from "./elementwise.js";
import { foldBinary } from "./folding.js";

/**
 * y = a * b, element by element, with broadcasting.
 *
 * da = dy * b, db = dy * a. Source: ONNX Mul, opset 14.
 */
export const mul: Op<readonly [a: Value, b: Value]> = {
  opType: "Mul",
  inHalf: "elementwise",
  infer: ([a, b]) => [inferBroadcast("Mul", a, b)],
  gradient: ({ g, dy, inputs: [a, b] }) => [g.mul(dy, b), g.mul(dy, a)],
  fold: foldBinary(
    (a, b) => a * b,
    (a, b) => a * b,
  ),
};
