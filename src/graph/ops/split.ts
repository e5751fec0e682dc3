import { addDims, type Dim } from "../../core/dim.js";
import { normalizeAxis, refuse, type Op, type Value } from "../op.js";

/**
 * A tensor cut into pieces of the given sizes along one axis. `split` is int64 [pieces].
 *
 * dx lays the pieces' gradients end to end; a piece that nobody reads has a gradient of zeros.
 * Source: ONNX Split, opset 18.
 */
export const split: Op<
  readonly [x: Value, split: Value],
  { readonly axis: number; readonly sizes: readonly Dim[]; readonly sizesAtRunTime: boolean }
> = {
  opType: "Split",
  inHalf: "exact",
  infer([x], { axis, sizes, sizesAtRunTime }) {
    const along = normalizeAxis("Split", axis, x);
    if (!sizesAtRunTime && addDims(...sizes) !== x.shape[along])
      refuse(
        "Split",
        [x],
        `a tensor whose axis ${String(along)} is the sum of [${sizes.join(", ")}]`,
      );
    return sizes.map((size) => ({
      dtype: x.dtype,
      shape: x.shape.map((dim, i) => (i === along ? size : dim)),
    }));
  },
  attributes: ({ axis }) => ({ axis: { int: axis } }),
  takesAllGradients: true,
  gradient({ g, outputs, dOutputs, inputs: [x], attrs: { axis, sizesAtRunTime } }) {
    const pieces = outputs.map((y, i) => dOutputs[i] ?? g.zeros(y.dtype, y.shape));
    const dx = g.concat(pieces, axis);
    return [sizesAtRunTime ? g.reshape(dx, x.shape, { sameCount: true }) : dx, undefined];
  },
};
