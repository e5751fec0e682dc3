import { refuse, type Op, type Value } from "../op.js";

/**
 * data with whole slices replaced: data[indices[i]] = updates[i]. indices int64 [..., depth].
 *
 * No gradient: it writes the key/value cache in decoding. Source: ONNX ScatterND, opset 18.
 */
export const scatterND: Op<readonly [data: Value, indices: Value, updates: Value]> = {
  opType: "ScatterND",
  inHalf: "exact",
  infer([data, indices, updates]) {
    const depth = indices.shape.at(-1);
    if (indices.dtype !== "int64" || data.dtype !== updates.dtype || typeof depth !== "number")
      return refuse(
        "ScatterND",
        [data, indices, updates],
        "int64 indices of known depth, and one dtype",
      );
    const expected = [...indices.shape.slice(0, -1), ...data.shape.slice(depth)];
    if (expected.join() !== updates.shape.join())
      refuse("ScatterND", [data, indices, updates], `updates [${expected.join(", ")}]`);
    return [{ dtype: data.dtype, shape: data.shape }];
  },
};
