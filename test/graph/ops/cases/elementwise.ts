import type { Graph } from "../../../../src/graph/graph.js";
import type { Value } from "../../../../src/graph/op.js";
import { booleans, integers, uniform } from "../../../support/check-gradient.js";
import { gradientCase, type GradientCases } from "./gradient-case.js";

type Binary = (g: Graph, a: Value, b: Value) => Value;
type Unary = (g: Graph, x: Value) => Value;

/** Every way in which two shapes broadcast; b stays away from zero for Div. */
const binary = (op: Binary) => [
  gradientCase("of two tensors of one shape", {
    inputs: { a: uniform([2, 3, 4], -2, 2), b: uniform([2, 3, 4], 0.5, 2) },
    forward: (g, { a, b }) => op(g, a, b),
  }),
  gradientCase("where the second lacks axes and has axes of 1", {
    inputs: { a: uniform([2, 3, 4], -2, 2), b: uniform([3, 1], 0.5, 2) },
    forward: (g, { a, b }) => op(g, a, b),
  }),
  gradientCase("where each is spread over the other", {
    inputs: { a: uniform([2, 1, 4], -2, 2), b: uniform([5, 1, 3, 1], 0.5, 2) },
    forward: (g, { a, b }) => op(g, a, b),
  }),
  gradientCase("of a scalar and a tensor with named sizes", {
    inputs: {
      a: uniform([], -2, 2),
      b: uniform([2, 3], 0.5, 2, { dims: ["batch", "seq"] }),
    },
    forward: (g, { a, b }) => op(g, a, b),
  }),
  gradientCase("of a value and itself", {
    inputs: { a: uniform([3], 0.5, 2) },
    forward: (g, { a }) => op(g, op(g, a, a), g.exp(a)),
  }),
];

const unary = (op: Unary, low = -3, high = 3) => [
  gradientCase("of any tensor", {
    inputs: { x: uniform([2, 3, 5], low, high) },
    forward: (g, { x }) => op(g, x),
  }),
  gradientCase("with named sizes", {
    inputs: { x: uniform([2, 3], low, high, { dims: ["batch", "seq"] }) },
    forward: (g, { x }) => op(g, x),
  }),
];

const checkerboard = booleans([2, 3], [1, 0, 1, 0, 1, 0]);

export const elementwiseCases = {
  Add: binary((g, a, b) => g.add(a, b)),
  Sub: binary((g, a, b) => g.sub(a, b)),
  Mul: binary((g, a, b) => g.mul(a, b)),
  Div: binary((g, a, b) => g.div(a, b)),
  Neg: unary((g, x) => g.neg(x)),
  Exp: unary((g, x) => g.exp(x)),
  Log: unary((g, x) => g.log(x), 0.3, 3),
  Sqrt: unary((g, x) => g.sqrt(x), 0.3, 3),
  Reciprocal: [
    ...unary((g, x) => g.reciprocal(x), 0.5, 3),
    gradientCase("below zero", {
      inputs: { x: uniform([4], -3, -0.5) },
      forward: (g, { x }) => g.reciprocal(x),
    }),
  ],
  Sigmoid: unary((g, x) => g.sigmoid(x)),
  Relu: unary((g, x) => g.relu(x)),
  Tanh: unary((g, x) => g.tanh(x)),
  Erf: [
    ...unary((g, x) => g.erf(x)),
    gradientCase("where it is all but flat, and beyond", {
      inputs: { x: uniform([6], -8, 8) },
      forward: (g, { x }) => g.add(g.erf(x), g.mul(x, g.scalar(0.1, x.dtype))),
    }),
  ],
  Silu: unary((g, x) => g.silu(x)),
  Identity: unary((g, x) => g.identity(x)),
  Where: [
    gradientCase("of two tensors of the condition's shape", {
      inputs: { condition: checkerboard, a: uniform([2, 3], -2, 2), b: uniform([2, 3], -2, 2) },
      forward: (g, { condition, a, b }) => g.where(condition, a, b),
    }),
    gradientCase("where condition and both values are spread", {
      inputs: { condition: checkerboard, a: uniform([4, 1, 3], -2, 2), b: uniform([], -2, 2) },
      forward: (g, { condition, a, b }) => g.where(condition, a, b),
    }),
    gradientCase("under a condition that was computed", {
      inputs: {
        columns: integers([4], [0, 1, 2, 3], { dims: ["seq"] }),
        a: uniform([4, 4], -2, 2, { dims: ["seq", "seq"] }),
      },
      forward: (g, { columns, a }) => {
        const rows = g.reshape(columns, ["seq", 1]);
        return g.where(g.lessOrEqual(columns, rows), a, g.scalar(-5, a.dtype));
      },
    }),
  ],
} satisfies GradientCases;
