import { integers, uniform } from "../../../support/check-gradient.js";
import { gradientCase, type GradientCases } from "./gradient-case.js";

export const indexingCases = {
  Gather: [
    gradientCase("of rows, some of them twice and one counted from the end", {
      inputs: { x: uniform([4, 3], -2, 2), at: integers([2, 3], [1, 3, 1, 0, 1, -1]) },
      forward: (g, { x, at }) => g.exp(g.gather(x, at, { axis: 0 })),
    }),
    gradientCase("of rows of higher rank by a scalar index", {
      inputs: { x: uniform([4, 3, 2], -2, 2), at: integers([], [2]) },
      forward: (g, { x, at }) => g.exp(g.gather(x, at, { axis: 0 })),
    }),
    gradientCase("of named rows by a named number of indices", {
      inputs: {
        x: uniform([6, 2], -2, 2, { dims: ["batch*seq", 2] }),
        ids: integers([2, 3], [0, 0, 0, 0, 0, 0], { dims: ["batch", "seq"] }),
        at: integers([3], [5, 0, 5], { dims: ["labels"] }),
      },
      forward: (g, { x, at }) => g.exp(g.gather(x, at, { axis: 0 })),
    }),
    gradientCase("of a vector", {
      inputs: { x: uniform([4], -2, 2), at: integers([3], [2, 2, 0]) },
      forward: (g, { x, at }) => g.exp(g.gather(x, at, { axis: -1 })),
    }),
  ],
  GatherElements: [
    gradientCase("along the last axis, with repeated indices", {
      inputs: { x: uniform([2, 4], -2, 2), at: integers([2, 3], [0, 3, 0, 2, 2, 2]) },
      forward: (g, { x, at }) => g.exp(g.gatherElements(x, at, { axis: 1 })),
    }),
    gradientCase("along the first axis, counted from the end, with named sizes", {
      inputs: {
        x: uniform([3, 2], -2, 2, { dims: ["rows", 2] }),
        at: integers([1, 2], [2, 0]),
      },
      forward: (g, { x, at }) => g.exp(g.gatherElements(x, at, { axis: -2 })),
    }),
  ],
  ScatterElements: [
    gradientCase("that adds, along the last axis, with repeated indices", {
      inputs: {
        data: uniform([2, 4], -2, 2),
        at: integers([2, 3], [0, 3, 0, 2, 2, 2]),
        updates: uniform([2, 3], -2, 2),
      },
      forward: (g, { data, at, updates }) =>
        g.exp(g.scatterElements(data, at, updates, { axis: 1, reduction: "add" })),
    }),
    gradientCase("that adds, along the first axis, with named sizes", {
      inputs: {
        data: uniform([3, 2], -2, 2, { dims: ["rows", 2] }),
        at: integers([4, 2], [0, 1, 0, 2, 1, 1, 0, 0], { dims: ["count", 2] }),
        updates: uniform([4, 2], -2, 2, { dims: ["count", 2] }),
      },
      forward: (g, { data, at, updates }) =>
        g.exp(g.scatterElements(data, at, updates, { axis: 0, reduction: "add" })),
    }),
  ],
} satisfies GradientCases;
