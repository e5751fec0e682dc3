import type { Op, Value } from "../op.js";
import { inferBroadcast } from "./elementwise.js";
import { foldBinary } from "./folding.js";

/**
 * y = a - b, with broadcasting.
 *
 * da = dy, db = -dy. Source: ONNX Sub, opset 14.
 */
export const sub: Op<readonly [a: Value, b: Value]> = {
  opType: "Sub",
  inHalf: "elementwise",
  infer: ([a, b]) => [inferBroadcast("Sub", a, b)],
  gradient: ({ g, dy }) => [dy, g.neg(dy)],
  fold: foldBinary(
    (a, b) => a - b,
    (a, b) => a - b,
  ),
};
