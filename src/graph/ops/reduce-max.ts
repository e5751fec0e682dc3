import type { Op, Value } from "../op.js";
import { inferReduction, type ReductionAttrs } from "./reduction.js";

/** Largest element over axes. No gradient: it steadies a sum of exponentials. Source: ONNX ReduceMax, opset 18. */
export const reduceMax: Op<readonly [x: Value, axes: Value], ReductionAttrs> = {
  opType: "ReduceMax",
  infer: ([x], attrs) => [inferReduction("ReduceMax", x, attrs)],
  attributes: ({ keepdims }) => ({ keepdims: { int: Number(keepdims) } }),
};
