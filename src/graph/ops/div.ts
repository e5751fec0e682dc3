import type { Op, Value } from "../op.js";
import { inferBroadcast } from "./elementwise.js";
import { foldBinary } from "./folding.js";

/**
 * y = a / b, element by element, with broadcasting; whole numbers are cut towards zero.
 *
 * da = dy / b, db = -dy * y / b. Source: ONNX Div, opset 14.
 */
export const div: Op<readonly [a: Value, b: Value]> = {
  opType: "Div",
  infer: ([a, b]) => [inferBroadcast("Div", a, b)],
  gradient({ g, dy, inputs: [, b], outputs }) {
    const da = g.div(dy, b);
    return [da, g.neg(g.mul(da, outputs[0] as Value))];
  },
  fold: foldBinary(
    (a, b) => a / b,
    (a, b) => (b === 0n ? undefined : a / b),
  ),
};
