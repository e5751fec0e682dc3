import { refuse, type Op, type Value } from "../op.js";

/**
 * RMS norm over the last axis: y = x * inv * gamma with inv = (mean(x^2) + epsilon)^(-1/2).
 * x, y [..., size], gamma [size], second output inv [..., 1].
 *
 * With xhat = x * inv and h = dy * gamma: dx = inv * (h - xhat * mean(h * xhat)), dGamma = sum of dy * xhat.
 * Source: ONNX Runtime's SimplifiedLayerNormalization (registered in the ai.onnx domain), float32.
 */
export const rmsNorm: Op<readonly [x: Value, gamma: Value], { readonly epsilon: number }> = {
  opType: "SimplifiedLayerNormalization",
  name: "RmsNorm",
  infer([x, gamma]) {
    const size = x.shape.at(-1);
    if (gamma.shape.length !== 1 || gamma.shape[0] !== size || gamma.dtype !== x.dtype)
      refuse("RmsNorm", [x, gamma], `a gain of shape [${String(size)}]`);
    return [
      { dtype: x.dtype, shape: x.shape },
      { dtype: x.dtype, shape: [...x.shape.slice(0, -1), 1] },
    ];
  },
  attributes: ({ epsilon }) => ({
    axis: { int: -1 },
    epsilon: { float: epsilon },
    stash_type: { int: 1 },
  }),
  gradient({ g, dy, inputs: [x, gamma], outputs }) {
    const inv = outputs[1] as Value;
    const xhat = g.mul(x, inv);
    const h = g.mul(dy, gamma);
    const along = g.reduceMean(g.mul(h, xhat), { axes: [-1], keepdims: true });
    return [g.mul(inv, g.sub(h, g.mul(xhat, along))), g.mul(dy, xhat)];
  },
  lower(g, [x, gamma], { epsilon }) {
    const meanSquare = g.reduceMean(g.mul(x, x), { axes: [-1], keepdims: true });
    const inv = g.reciprocal(g.sqrt(g.add(meanSquare, g.scalar(epsilon, x.dtype))));
    return [g.mul(g.mul(x, inv), gamma), inv];
  },
};
