import test from "ava";
import { opName } from "../../../src/graph/op.js";
import { openProbe, uniform, type GradientCheck } from "../../support/check-gradient.js";
import { elementwiseCases } from "./cases/elementwise.js";
import { fusedCases } from "./cases/fused.js";
import { gradientCase, type GradientCases } from "./cases/gradient-case.js";
import { sumCases } from "./cases/sums.js";

const swiglu = gradientCase("in a gated product with rows normed and turned", {
  inputs: {
    x: uniform([2, 4], -2, 2, { dims: ["rows", 4] }),
    gain: uniform([4], 0.5, 2),
    gate: uniform([6, 4], -1, 1),
    up: uniform([6, 4], -1, 1),
  },
  forward: (g, { x, gain, gate, up }) => {
    const normed = g.rmsNorm(x, gain, { epsilon: 1e-5 });
    return g.mul(g.silu(g.linear(normed, gate)), g.linear(normed, up));
  },
});

/** The ops that ONNX Runtime has in float32 alone, and what they are lowered to elsewhere. */
const forms: GradientCases = {
  Silu: [...elementwiseCases.Silu, swiglu],
  Erf: elementwiseCases.Erf,
  FusedMatMul: sumCases.FusedMatMul,
  ...fusedCases,
};

const measure = async (check: GradientCheck, dtype: "float32" | "float64") => {
  const probe = await openProbe({ ...check, dtype });
  try {
    const { outputs, gradients } = await probe.run(probe.point);
    const ops = new Set(probe.graph.nodes.map(({ op }) => opName(op)));
    return { ops, numbers: [...outputs, ...gradients.values()] };
  } finally {
    probe.dispose();
  }
};

/** Largest difference over the largest element of `b`. */
const distance = (a: Float64Array, b: Float64Array): number => {
  const largest = b.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  return b.reduce((most, x, i) => Math.max(most, Math.abs(x - (a[i] ?? NaN))), 0) / largest;
};

for (const [op, cases] of Object.entries(forms)) {
  for (const { title, ...check } of cases) {
    test(`${op} in float32 is its lowered form in float64, values and gradients, ${title}`, async (t) => {
      const [fused, lowered] = [await measure(check, "float32"), await measure(check, "float64")];
      t.true(fused.ops.has(op));
      t.false(lowered.ops.has(op));
      fused.numbers.forEach((numbers, i) => {
        const error = distance(numbers, lowered.numbers[i] ?? new Float64Array());
        t.true(error < 3e-6, `number ${i}: ${error}`);
      });
    });
  }
}
