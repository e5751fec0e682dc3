import { multiplyDims } from "../../core/dim.js";
import { normalizeAxis, type Op, type Value } from "../op.js";
import { inferReduction, keptShape, type ReductionAttrs } from "./reduction.js";

/**
 * Mean over axes; dx spreads dy / n over them. `axes` is int64. Source: ONNX ReduceMean, opset 18.
 *
 * The gradient needs reduced sizes that are numbers.
 */
export const reduceMean: Op<readonly [x: Value, axes: Value], ReductionAttrs> = {
  opType: "ReduceMean",
  infer: ([x], attrs) => [inferReduction("ReduceMean", x, attrs)],
  attributes: ({ keepdims }) => ({ keepdims: { int: Number(keepdims) } }),
  gradient({ g, dy, inputs: [x], attrs: { axes }, refuse }) {
    const n = multiplyDims(
      ...axes.map((axis) => x.shape[normalizeAxis("ReduceMean", axis, x)] ?? 1),
    );
    if (typeof n !== "number") return refuse("axes whose sizes are numbers");
    const spread = g.expand(g.reshape(dy, keptShape(x, axes)), x.shape);
    return [g.mul(spread, g.scalar(1 / n, dy.dtype)), undefined];
  },
};
