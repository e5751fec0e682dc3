import { refuse, type Op, type Value } from "../op.js";

/**
 * Layer norm over the last axis: y = xhat * gamma + beta with xhat = (x - mean(x)) * inv, inv = (var(x) + epsilon)^(-1/2).
 * x, y [..., size], gamma, beta [size]; further outputs mean and inv [..., 1].
 *
 * With h = dy * gamma: dx = inv * (h - mean(h) - xhat * mean(h * xhat)), dGamma = sum of dy * xhat, dBeta = sum of dy.
 * Source: ONNX LayerNormalization, opset 17; Ba et al., "Layer Normalization", 2016.
 */
export const layerNormalization: Op<
  readonly [x: Value, gamma: Value, beta: Value],
  { readonly epsilon: number }
> = {
  opType: "LayerNormalization",
  infer([x, gamma, beta]) {
    const size = x.shape.at(-1);
    for (const each of [gamma, beta])
      if (each.shape.length !== 1 || each.shape[0] !== size || each.dtype !== x.dtype)
        refuse("LayerNormalization", [x, gamma, beta], `gain and bias of shape [${String(size)}]`);
    const row = { dtype: x.dtype, shape: [...x.shape.slice(0, -1), 1] };
    return [{ dtype: x.dtype, shape: x.shape }, row, row];
  },
  attributes: ({ epsilon }) => ({
    axis: { int: -1 },
    epsilon: { float: epsilon },
    stash_type: { int: 1 },
  }),
  gradient({ g, dy, inputs: [x, gamma], outputs }) {
    const [, mean, inv] = outputs as readonly [Value, Value, Value];
    const xhat = g.mul(g.sub(x, mean), inv);
    const h = g.mul(dy, gamma);
    const along = (value: Value): Value => g.reduceMean(value, { axes: [-1], keepdims: true });
    const centered = g.sub(h, along(h));
    const dx = g.mul(inv, g.sub(centered, g.mul(xhat, along(g.mul(h, xhat)))));
    return [dx, g.mul(dy, xhat), dy];
  },
  lower(g, [x, gamma, beta], { epsilon }) {
    const mean = g.reduceMean(x, { axes: [-1], keepdims: true });
    const centered = g.sub(x, mean);
    const variance = g.reduceMean(g.mul(centered, centered), { axes: [-1], keepdims: true });
    const inv = g.reciprocal(g.sqrt(g.add(variance, g.scalar(epsilon, x.dtype))));
    return [g.add(g.mul(g.mul(centered, inv), gamma), beta), mean, inv];
  },
};
