import { normalizeAxis, type Op, type Value } from "../op.js";
import { inferFloat } from "./elementwise.js";

/**
 * Logarithm of the softmax along one axis: y = x - log(sum(exp(x))). x, y: any shape, any float dtype.
 *
 * dx = dy - exp(y) * sum(dy) reads y alone. Source: ONNX LogSoftmax, opset 13.
 */
export const logSoftmax: Op<readonly [x: Value], { readonly axis: number }> = {
  opType: "LogSoftmax",
  infer([x], { axis }) {
    normalizeAxis("LogSoftmax", axis, x);
    return [inferFloat("LogSoftmax", x)];
  },
  attributes: ({ axis }) => ({ axis: { int: axis } }),
  gradient({ g, dy, outputs, attrs: { axis } }) {
    const along = g.reduceSum(dy, { axes: [axis], keepdims: true });
    return [g.sub(dy, g.mul(g.exp(outputs[0] as Value), along))];
  },
  lower(g, [x], { axis }) {
    const kept = { axes: [axis], keepdims: true };
    const shifted = g.sub(x, g.reduceMax(x, kept));
    return [g.sub(shifted, g.log(g.reduceSum(g.exp(shifted), kept)))];
  },
};
