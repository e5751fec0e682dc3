import { addDims } from "../../core/dim.js";
import { normalizeAxis, refuse, type Op, type Value } from "../op.js";

/** Tensors laid end to end along one axis; the gradient is cut at the same places. Source: ONNX Concat, opset 13. */
export const concat: Op<readonly Value[], { readonly axis: number }> = {
  opType: "Concat",
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
};
