import type { Op, Value } from "../op.js";
import { inferFloat } from "./elementwise.js";

/**
 * SiLU: y = x * sigmoid(x). x, y: any shape, any float dtype.
 *
 * dx = dy * s * (1 + x * (1 - s)) with s = sigmoid(x), which is computed again: only x outlives the forward pass.
 * Source: ONNX Runtime's com.microsoft QuickGelu with alpha = 1, which has a float32 kernel only.
 */
export const silu: Op<readonly [x: Value]> = {
  opType: "QuickGelu",
  name: "Silu",
  domain: "com.microsoft",
  inHalf: "elementwise",
  infer: ([x]) => [inferFloat("Silu", x)],
  attributes: () => ({ alpha: { float: 1 } }),
  gradient({ g, dy, inputs: [x] }) {
    const s = g.sigmoid(x);
    const one = g.scalar(1, x.dtype);
    return [g.mul(dy, g.mul(s, g.add(one, g.mul(x, g.sub(one, s)))))];
  },
  lower: (g, [x]) => [g.mul(x, g.sigmoid(x))],
};
