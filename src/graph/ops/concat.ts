import { addDims } from "../../core/dim.js";
import { allocate, elementCount } from "../../core/dtype.js";
import { normalizeAxis, refuse, type Op, type Value } from "../op.js";

/** Tensors laid end to end along one axis; the gradient is cut at the same places. Source: ONNX Concat, opset 13. */
export const concat: Op<readonly Value[], { readonly axis: number }> = {
  opType: "Concat",
  inHalf: "exact",
  infer(inputs, { axis }) {
    const [first] = inputs;
    if (!first)
      throw new RangeError("Cannot build Concat: found no tensors, expected at least one");
    const along = normalizeAxis("Concat", axis, first);
    const fits = (x: Value) =>
      x.dtype === first.dtype &&
      x.shape.length === first.shape.length &&
      x.shape.every((dim, i) => i === along || dim === first.shape[i]);
    if (!inputs.every(fits))
      refuse("Concat", inputs, `tensors that differ in axis ${String(along)} only`);
    const total = addDims(...inputs.map((x) => x.shape[along] ?? 0));
    return [
      { dtype: first.dtype, shape: first.shape.map((dim, i) => (i === along ? total : dim)) },
    ];
  },
  attributes: ({ axis }) => ({ axis: { int: axis } }),
  gradient({ g, dy, inputs, attrs: { axis } }) {
    if (inputs.length === 1) return [dy];
    return g.split(
      dy,
      inputs.map((x) => x.shape[normalizeAxis("Concat", axis, x)] ?? 0),
      axis,
    );
  },
  fold(inputs, attrs, shape) {
    const [first] = inputs;
    if (!first) return undefined;
    const axis = normalizeAxis("Concat", attrs.axis, first);
    const data = allocate(first.dtype, elementCount(shape));
    // Along the axis, each input gives its stretch of every row.
    const width = (sizes: readonly number[]) => elementCount(sizes.slice(axis));
    let start = 0;
    for (const { data: from, shape: sizes } of inputs) {
      const stretch = width(sizes);
      for (let row = 0; row * stretch < from.length; row++)
        data.set(
          from.subarray(row * stretch, (row + 1) * stretch) as never,
          row * width(shape) + start,
        );
      start += stretch;
    }
    return data;
  },
};
