import type { Graph } from "../../../../src/graph/graph.js";
import type { Value } from "../../../../src/graph/op.js";
import { integers, uniform } from "../../../support/check-gradient.js";
import { gradientCase, type GradientCases } from "./gradient-case.js";

type Reduce = (
  g: Graph,
  x: Value,
  attrs: { readonly axes: readonly number[]; readonly keepdims?: boolean },
) => Value;

const reduction = (reduce: Reduce) => [
  gradientCase("over one axis, which vanishes", {
    inputs: { x: uniform([2, 3, 4], -2, 2) },
    forward: (g, { x }) => g.exp(reduce(g, x, { axes: [1] })),
  }),
  gradientCase("over the first and last of three axes, which stay as 1", {
    inputs: { x: uniform([2, 3, 4], -2, 2) },
    forward: (g, { x }) => g.exp(reduce(g, x, { axes: [0, -1], keepdims: true })),
  }),
  gradientCase("over all axes", {
    inputs: { x: uniform([2, 3], -2, 2) },
    forward: (g, { x }) => g.exp(reduce(g, x, { axes: [0, 1] })),
  }),
  gradientCase("over one axis beside a named size", {
    inputs: { x: uniform([2, 3], -2, 2, { dims: ["batch", 3] }) },
    forward: (g, { x }) => g.exp(reduce(g, x, { axes: [-1] })),
  }),
];

const flags = [false, true] as const;

/** a [stack, 2, 3] and b [stack, 3, 4], stored as transA and transB say. */
const products = (alpha: number) =>
  flags.flatMap((transA) =>
    flags.map((transB) =>
      gradientCase(`with transA ${transA}, transB ${transB}, alpha ${alpha}`, {
        inputs: {
          a: uniform(transA ? [3, 2] : [2, 3], -2, 2),
          b: uniform(transB ? [4, 3] : [3, 4], -2, 2),
        },
        forward: (g, { a, b }) => g.matmul(a, b, { transA, transB, alpha }),
      }),
    ),
  );

const stacked = flags.flatMap((transA) =>
  flags.flatMap((transB) => [
    gradientCase(`of stacks with transA ${transA}, transB ${transB}`, {
      inputs: {
        a: uniform(transA ? [2, 5, 3, 2] : [2, 5, 2, 3], -2, 2, {
          dims: transA ? ["batch", 5, 3, "seq"] : ["batch", 5, "seq", 3],
        }),
        b: uniform(transB ? [2, 5, 4, 3] : [2, 5, 3, 4], -2, 2, {
          dims: transB ? ["batch", 5, 4, 3] : ["batch", 5, 3, 4],
        }),
      },
      forward: (g, { a, b }) => g.matmul(a, b, { transA, transB, alpha: 0.5 }),
    }),
    gradientCase(`of stacks that are spread, with transA ${transA}, transB ${transB}`, {
      inputs: {
        a: uniform(transA ? [2, 1, 3, 2] : [2, 1, 2, 3], -2, 2),
        b: uniform(transB ? [5, 4, 3] : [5, 3, 4], -2, 2),
      },
      forward: (g, { a, b }) => g.matmul(a, b, { transA, transB, alpha: 0.5 }),
    }),
  ]),
);

export const sumCases = {
  ReduceSum: [
    ...reduction((g, x, attrs) => g.reduceSum(x, attrs)),
    gradientCase("over a named size", {
      inputs: { x: uniform([2, 3], -2, 2, { dims: ["batch", "seq"] }) },
      forward: (g, { x }) => g.exp(g.reduceSum(x, { axes: [1] })),
    }),
  ],
  ReduceMean: reduction((g, x, attrs) => g.reduceMean(x, attrs)),
  MatMul: [
    gradientCase("of two matrices with a named size", {
      inputs: {
        a: uniform([2, 3], -2, 2, { dims: ["rows", 3] }),
        b: uniform([3, 4], -2, 2),
      },
      forward: (g, { a, b }) => g.matmul(a, b),
    }),
    gradientCase("of a stack and one matrix", {
      inputs: { a: uniform([2, 5, 2, 3], -2, 2), b: uniform([3, 4], -2, 2) },
      forward: (g, { a, b }) => g.matmul(a, b),
    }),
    gradientCase("of one matrix and a stack", {
      inputs: { a: uniform([2, 3], -2, 2), b: uniform([2, 1, 3, 4], -2, 2) },
      forward: (g, { a, b }) => g.matmul(a, b),
    }),
    gradientCase("of a matrix with itself", {
      inputs: { a: uniform([3, 3], -2, 2) },
      forward: (g, { a }) => g.matmul(a, a),
    }),
  ],
  FusedMatMul: [
    ...products(0.5),
    ...products(1).slice(1),
    ...stacked,
    gradientCase("of a linear layer with a bias", {
      inputs: {
        x: uniform([2, 3], -2, 2, { dims: ["rows", 3] }),
        weight: uniform([4, 3], -2, 2),
        bias: uniform([4], -2, 2),
      },
      forward: (g, { x, weight, bias }) => g.linear(x, weight, bias),
    }),
  ],
  Softmax: [
    ...[0, 1, -1].map((axis) =>
      gradientCase(`along axis ${axis}`, {
        inputs: { x: uniform([2, 3, 5], -4, 4) },
        forward: (g, { x }) => g.softmax(x, { axis }),
      }),
    ),
    gradientCase("with named sizes", {
      inputs: { x: uniform([2, 3], -4, 4, { dims: ["batch", "seq"] }) },
      forward: (g, { x }) => g.softmax(x, { axis: -1 }),
    }),
  ],
  LogSoftmax: [
    ...[0, 1, -1].map((axis) =>
      gradientCase(`along axis ${axis}`, {
        inputs: { x: uniform([2, 3, 5], -4, 4) },
        forward: (g, { x }) => g.logSoftmax(x, { axis }),
      }),
    ),
    gradientCase("with named sizes", {
      inputs: { x: uniform([2, 3], -4, 4, { dims: ["batch", "seq"] }) },
      forward: (g, { x }) => g.logSoftmax(x, { axis: -1 }),
    }),
  ],
  SoftmaxCrossEntropyLoss: [
    gradientCase("of rows whose number is a name", {
      inputs: {
        logits: uniform([4, 5], -4, 4, { dims: ["rows", 5] }),
        labels: integers([4], [3, 0, 4, 3], { dims: ["rows"] }),
      },
      forward: (g, { logits, labels }) => g.softmaxCrossEntropyLoss(logits, labels),
    }),
  ],
} satisfies GradientCases;
