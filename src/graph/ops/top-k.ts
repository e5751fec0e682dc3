import { refuse, type Op, type Value } from "../op.js";

/**
 * The k largest elements of the last axis, largest first, and their indices (int64). k is int64 [1], known at run time.
 *
 * Of equal elements the lower index comes first. No gradient. Source: ONNX TopK, opset 11.
 */
export const topK: Op<readonly [x: Value, k: Value], { readonly size: string }> = {
  opType: "TopK",
  infer([x, k], { size }) {
    if (x.shape.length === 0 || k.dtype !== "int64" || k.shape.join() !== "1")
      refuse("TopK", [x, k], "a tensor with an axis, and k int64 [1]");
    const kept = [...x.shape.slice(0, -1), size];
    return [
      { dtype: x.dtype, shape: kept },
      { dtype: "int64", shape: kept },
    ];
  },
  attributes: () => ({ axis: { int: -1 }, largest: { int: 1 }, sorted: { int: 1 } }),
};
