import type { Op, Value } from "../op.js";
import { inferReduction, keptShape, type ReductionAttrs } from "./reduction.js";

/** Sum over axes; dx spreads dy over them. `axes` is int64. Source: ONNX ReduceSum, opset 13. */
export const reduceSum: Op<readonly [x: Value, axes: Value], ReductionAttrs> = {
  opType: "ReduceSum",
  infer: ([x], attrs) => [inferReduction("ReduceSum", x, attrs)],
  attributes: ({ keepdims }) => ({ keepdims: { int: Number(keepdims) } }),
  gradient: ({ g, dy, inputs: [x], attrs: { axes } }) => [
    g.expand(g.reshape(dy, keptShape(x, axes)), x.shape),
    undefined,
  ],
};
