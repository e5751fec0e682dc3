import { normalizeAxis, type Op, type Value } from "../op.js";
import { inferFloat } from "./elementwise.js";

/**
 * Softmax along one axis: y = exp(x) / sum(exp(x)). x, y: any shape, any float dtype.
 *
 * dx = y * (dy - sum(y * dy)) reads y alone, so x need not outlive the forward pass.
 * Source: ONNX Softmax, opset 13.
 */
export const softmax: Op<readonly [x: Value], { readonly axis: number }> = {
  opType: "Softmax",
  infer([x], { axis }) {
    normalizeAxis("Softmax", axis, x);
    return [inferFloat("Softmax", x)];
  },
  attributes: ({ axis }) => ({ axis: { int: axis } }),
  gradient({ g, dy, outputs, attrs: { axis } }) {
    const y = outputs[0] as Value;
    const along = g.reduceSum(g.mul(y, dy), { axes: [axis], keepdims: true });
    return [g.mul(y, g.sub(dy, along))];
  },
};
