import { multiplyDims } from "../../core/dim.js";
import { normalizeAxis, refuse, type Op, type Value } from "../op.js";
import { offsetOf, take } from "./folding.js";

/**
 * Slices of x along one axis, by index: y = x[..., indices, ...]. indices int64, any shape.
 *
 * Along axis 0, dx is zero but for dy added at the indices. ScatterElements adds in order, so repeated indices give the
 * same bits each time. Source: ONNX Gather, opset 13.
 */
export const gather: Op<readonly [x: Value, indices: Value], { readonly axis: number }> = {
  opType: "Gather",
  inHalf: "exact",
  infer([x, indices], { axis }) {
    const along = normalizeAxis("Gather", axis, x);
    if (indices.dtype !== "int64") refuse("Gather", [x, indices], "int64 indices");
    const shape = [...x.shape.slice(0, along), ...indices.shape, ...x.shape.slice(along + 1)];
    return [{ dtype: x.dtype, shape }];
  },
  attributes: ({ axis }) => ({ axis: { int: axis } }),
  gradient({ g, dy, inputs: [x, indices], attrs: { axis }, refuse }) {
    if (normalizeAxis("Gather", axis, x) !== 0) refuse(`axis 0, not ${String(axis)}`);
    const count = multiplyDims(...indices.shape);
    const width = multiplyDims(...x.shape.slice(1));
    const at = g.expand(g.reshape(indices, [count, 1]), [count, width]);
    const zeros = g.zeros(x.dtype, [x.shape[0] ?? 0, width]);
    const sum = g.scatterElements(zeros, at, g.reshape(dy, [count, width]), {
      axis: 0,
      reduction: "add",
    });
    return [g.reshape(sum, x.shape), undefined];
  },
  fold([x, indices], attrs, shape) {
    if (!x || !indices) return undefined;
    const axis = normalizeAxis("Gather", attrs.axis, x);
    const size = x.shape[axis] ?? 0;
    const rows = Array.from(indices.data, Number);
    if (rows.some((row) => row < -size || row >= size)) return undefined;
    const rank = indices.shape.length;
    return take(x, shape, (place) => {
      const row = rows[offsetOf(indices.shape, place.slice(axis, axis + rank))] ?? 0;
      const at = row < 0 ? row + size : row;
      return offsetOf(x.shape, [...place.slice(0, axis), at, ...place.slice(axis + rank)]);
    });
  },
};
