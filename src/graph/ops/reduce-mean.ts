import { multiplyDims } from "../../core/dim.js";
import { normalizeAxis, type Op, type Value } from "../op.js";
import { inferReduction, keptShape, type ReductionAttrs } from "./reduction.js";

/** How many elements are in each mean; undefined: known at run time alone. */
const meanCount = (x: Value, axes: readonly number[]): number | undefined => {
  const n = multiplyDims(...axes.map((axis) => x.shape[normalizeAxis("ReduceMean", axis, x)] ?? 1));
  return typeof n === "number" ? n : undefined;
};

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
    const n = meanCount(x, axes);
    if (n === undefined) return refuse("axes whose sizes are numbers");
    const spread = g.expand(g.reshape(dy, keptShape(x, axes)), x.shape);
    return [g.mul(spread, g.scalar(1 / n, dy.dtype)), undefined];
  },
  lower(g, [x], { axes, keepdims }) {
    const n = meanCount(x, axes);
    if (n === undefined) return [g.reduceMean(x, { axes, keepdims })];
    return [g.mul(g.reduceSum(x, { axes, keepdims }), g.scalar(1 / n, x.dtype))];
  },
};
