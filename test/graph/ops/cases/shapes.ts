import { integers, uniform } from "../../../support/check-gradient.js";
import { gradientCase, type GradientCases } from "./gradient-case.js";

/** Ops that move elements and change none. */
export const shapeCases = {
  Cast: [
    gradientCase("through float32 and back", {
      inputs: { x: uniform([2, 3], -2, 2) },
      dtype: "float32",
      forward: (g, { x }) => g.cast(g.mul(g.cast(x, "float64"), g.scalar(3, "float64")), "float32"),
    }),
    gradientCase("past a part that goes through whole numbers, which has none", {
      inputs: { x: uniform([2, 3], -2, 2) },
      forward: (g, { x }) => g.mul(x, g.cast(g.cast(x, "int64"), x.dtype)),
    }),
  ],
  Reshape: [
    gradientCase("to another rank", {
      inputs: { x: uniform([2, 6], -2, 2) },
      forward: (g, { x }) => g.exp(g.reshape(x, [3, 2, 2])),
    }),
    gradientCase("to a scalar and back", {
      inputs: { x: uniform([1], -2, 2) },
      forward: (g, { x }) => g.exp(g.reshape(g.reshape(x, []), [1, 1])),
    }),
    gradientCase("of named sizes to their product", {
      inputs: { x: uniform([2, 3, 4], -2, 2, { dims: ["batch", "seq", 4] }) },
      forward: (g, { x }) => g.exp(g.reshape(x, ["batch*seq", 4])),
    }),
    gradientCase("of a product to its named sizes, two of them unknown", {
      inputs: {
        x: uniform([6, 4], -2, 2, { dims: ["batch*seq", 4] }),
        ids: integers([2, 3], [0, 0, 0, 0, 0, 0], { dims: ["batch", "seq"] }),
      },
      forward: (g, { x }) => g.exp(g.reshape(x, ["seq", 2, "batch", 2])),
    }),
  ],
  Transpose: [
    gradientCase("under a permutation that is not its own inverse", {
      inputs: { x: uniform([2, 3, 4], -2, 2) },
      forward: (g, { x }) => g.exp(g.transpose(x, [1, 2, 0])),
    }),
    gradientCase("with named sizes", {
      inputs: { x: uniform([2, 3, 4, 2], -2, 2, { dims: ["batch", "seq", 4, 2] }) },
      forward: (g, { x }) => g.exp(g.transpose(x, [0, 2, 1, 3])),
    }),
  ],
  Concat: [
    gradientCase("along the first axis", {
      inputs: { a: uniform([2, 3], -2, 2), b: uniform([1, 3], -2, 2), c: uniform([3, 3], -2, 2) },
      forward: (g, { a, b, c }) => g.exp(g.concat([a, b, c], 0)),
    }),
    gradientCase("along the last axis, counted from the end, of a tensor twice", {
      inputs: { a: uniform([2, 3], -2, 2), b: uniform([2, 1], -2, 2) },
      forward: (g, { a, b }) => g.exp(g.concat([a, b, a], -1)),
    }),
    gradientCase("along an axis whose sizes are names", {
      inputs: {
        a: uniform([2, 3], -2, 2, { dims: [2, "past"] }),
        b: uniform([2, 4], -2, 2, { dims: [2, "seq"] }),
      },
      forward: (g, { a, b }) => g.exp(g.concat([a, b], 1)),
    }),
  ],
  Split: [
    gradientCase("into uneven pieces", {
      inputs: { x: uniform([2, 6], -2, 2) },
      forward: (g, { x }) => g.split(x, [1, 3, 2], 1).map((piece) => g.exp(piece)),
    }),
    gradientCase("whose first and last pieces nobody reads", {
      inputs: { x: uniform([2, 6], -2, 2) },
      forward: (g, { x }) => g.exp(g.split(x, [1, 3, 2], -1)[1] ?? x),
    }),
    gradientCase("at named sizes", {
      inputs: {
        x: uniform([5, 2], -2, 2, { dims: ["past+seq", 2] }),
        past: integers([3], [0, 0, 0], { dims: ["past"] }),
        seq: integers([2], [0, 0], { dims: ["seq"] }),
      },
      forward: (g, { x }) => g.exp(g.split(x, ["past", "seq"], 0)[0] ?? x),
    }),
    gradientCase("at run time", {
      inputs: {
        x: uniform([6, 2], -2, 2, { dims: ["rows", 2] }),
        counts: integers([3], [3, 0, 3]),
      },
      sizes: { first: 3, second: 0, third: 3 },
      forward: (g, { x, counts }) =>
        g
          .splitAtRunTime(x, counts, ["first", "second", "third"], 0)
          .map((piece) => g.exp(g.reshape(piece, [`2*${String(piece.shape[0])}`]))),
    }),
    gradientCase("at run time with a piece that nobody reads", {
      inputs: {
        x: uniform([6, 2], -2, 2, { dims: ["rows", 2] }),
        counts: integers([2], [2, 4]),
      },
      sizes: { head: 2, tail: 4 },
      forward: (g, { x, counts }) =>
        g.exp(g.splitAtRunTime(x, counts, ["head", "tail"], 0)[1] ?? x),
    }),
  ],
  Slice: [
    gradientCase("in the middle of an axis", {
      inputs: { x: uniform([2, 6, 3], -2, 2) },
      forward: (g, { x }) => g.exp(g.slice(x, { axis: 1, start: 2, end: 5 })),
    }),
    gradientCase("along the last axis, counted from the end, beside a named size", {
      inputs: { x: uniform([2, 6], -2, 2, { dims: ["batch", 6] }) },
      forward: (g, { x }) => g.exp(g.slice(x, { axis: -1, start: 0, end: 1 })),
    }),
  ],
  Pad: [
    gradientCase("before and after an axis", {
      inputs: { x: uniform([2, 3], -2, 2) },
      forward: (g, { x }) => g.exp(g.pad(x, { axis: 1, before: 2, after: 1 })),
    }),
    gradientCase("where the axis itself has a named size", {
      inputs: { x: uniform([2, 3], -2, 2, { dims: [2, "seq"] }) },
      forward: (g, { x }) => g.exp(g.pad(x, { axis: -1, before: 0, after: 2 })),
    }),
    gradientCase("along an axis counted from the end, by a named size", {
      inputs: {
        x: uniform([2, 3], -2, 2),
        seq: integers([4], [0, 0, 0, 0], { dims: ["seq"] }),
      },
      forward: (g, { x }) => g.exp(g.pad(x, { axis: -2, before: 0, after: "seq" })),
    }),
  ],
  Expand: [
    gradientCase("along axes of 1 and new axes", {
      inputs: { x: uniform([3, 1], -2, 2) },
      forward: (g, { x }) => g.exp(g.expand(x, [2, 3, 4])),
    }),
    gradientCase("to named sizes", {
      inputs: {
        x: uniform([1, 2], -2, 2),
        ids: integers([3, 2], [0, 0, 0, 0, 0, 0], { dims: ["batch", "seq"] }),
      },
      forward: (g, { x }) => g.exp(g.expand(x, ["batch*seq", 2])),
    }),
  ],
} satisfies GradientCases;
