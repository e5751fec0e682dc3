import { normalizeAxis, refuse, type Op, type Value } from "../op.js";

/**
 * One element of x for each index, along one axis: y[i, j] = x[i, indices[i, j]] for axis 1. indices int64 or int32, y's shape.
 *
 * dx is zero but for dy added at the indices. Source: ONNX GatherElements, opset 13.
 */
export const gatherElements: Op<readonly [x: Value, indices: Value], { readonly axis: number }> = {
  opType: "GatherElements",
  inHalf: "exact",
  infer([x, indices], { axis }) {
    normalizeAxis("GatherElements", axis, x);
    if (!["int64", "int32"].includes(indices.dtype) || indices.shape.length !== x.shape.length)
      refuse("GatherElements", [x, indices], "int64 or int32 indices of the same rank");
    return [{ dtype: x.dtype, shape: indices.shape }];
  },
  attributes: ({ axis }) => ({ axis: { int: axis } }),
  gradient: ({ g, dy, inputs: [x, indices], attrs: { axis } }) => [
    g.scatterElements(g.zeros(x.dtype, x.shape), indices, dy, { axis, reduction: "add" }),
    undefined,
  ],
};
