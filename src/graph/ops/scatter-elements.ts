import { normalizeAxis, refuse, sameShapes, type Op, type Value } from "../op.js";

/**
 * data with updates added (or put) at the indices along one axis. indices int64 and updates have one shape.
 *
 * For "add": d data = dy, d updates = dy at the indices. Source: ONNX ScatterElements, opset 18.
 */
export const scatterElements: Op<
  readonly [data: Value, indices: Value, updates: Value],
  { readonly axis: number; readonly reduction: "add" | "none" }
> = {
  opType: "ScatterElements",
  infer([data, indices, updates], { axis }) {
    normalizeAxis("ScatterElements", axis, data);
    if (indices.dtype !== "int64" || data.dtype !== updates.dtype || !sameShapes(indices, updates))
      refuse(
        "ScatterElements",
        [data, indices, updates],
        "int64 indices of the updates' shape, and one dtype",
      );
    return [{ dtype: data.dtype, shape: data.shape }];
  },
  attributes: ({ axis, reduction }) => ({ axis: { int: axis }, reduction: { string: reduction } }),
  gradient({ g, dy, inputs: [, indices], attrs: { axis, reduction }, refuse }) {
    if (reduction !== "add") refuse(`reduction "add", not "${reduction}"`);
    return [dy, undefined, g.gatherElements(dy, indices, { axis })];
  },
};
