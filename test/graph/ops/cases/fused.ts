import { integers, uniform } from "../../../support/check-gradient.js";
import { gradientCase, type GradientCases } from "./gradient-case.js";

const rotation = {
  positions: integers([2, 3], [0, 1, 2, 4, 0, 3], { dims: ["batch", "seq"] }),
  cos: uniform([5, 2], -1, 1, { frozen: true }),
  sin: uniform([5, 2], -1, 1, { frozen: true }),
};

/** Ops of ONNX Runtime's own with float32 kernels alone; the float64 checks run what `lower` makes of them. */
export const fusedCases = {
  RmsNorm: [
    gradientCase("of rows and gain, with named sizes", {
      inputs: {
        x: uniform([2, 3, 4], -2, 2, { dims: ["batch", "seq", 4] }),
        gamma: uniform([4], -2, 2),
      },
      forward: (g, { x, gamma }) => g.rmsNorm(x, gamma, { epsilon: 1e-5 }),
    }),
    gradientCase("of rows so small that epsilon counts", {
      inputs: { x: uniform([2, 4], -0.1, 0.1), gamma: uniform([4], -2, 2) },
      forward: (g, { x, gamma }) => g.rmsNorm(x, gamma, { epsilon: 1e-2 }),
    }),
  ],
  LayerNormalization: [
    gradientCase("of rows, gain and bias, with named sizes", {
      inputs: {
        x: uniform([2, 3, 4], -2, 2, { dims: ["batch", "seq", 4] }),
        gamma: uniform([4], -2, 2),
        beta: uniform([4], -2, 2),
      },
      forward: (g, { x, gamma, beta }) => g.layerNormalization(x, gamma, beta, { epsilon: 1e-5 }),
    }),
    gradientCase("of rows so small that epsilon counts", {
      inputs: {
        x: uniform([2, 4], -0.1, 0.1),
        gamma: uniform([4], -2, 2),
        beta: uniform([4], -2, 2),
      },
      forward: (g, { x, gamma, beta }) => g.layerNormalization(x, gamma, beta, { epsilon: 1e-2 }),
    }),
  ],
  RotaryEmbedding: [
    gradientCase("of several heads at positions of their own", {
      inputs: { x: uniform([2, 3, 12], -2, 2, { dims: ["batch", "seq", 12] }), ...rotation },
      forward: (g, { x, positions, cos, sin }) => g.rotaryEmbedding(x, positions, cos, sin),
    }),
  ],
} satisfies GradientCases;
