import { tinyModel } from "./tiny-onnx.js";

/** y = x W W W ..., with square matrices of `size`: a run of a length that `links` chooses. */
export const chainModel = (size: number, links: number): Uint8Array =>
  tinyModel({
    inputs: [
      { name: "x", dtype: "float32", shape: [size, size] },
      { name: "w", dtype: "float32", shape: [size, size] },
    ],
    outputs: [{ name: "y", dtype: "float32", shape: [size, size] }],
    nodes: Array.from({ length: links }, (_, i) => ({
      op: "MatMul",
      inputs: [i === 0 ? "x" : `t${i}`, "w"],
      outputs: [i === links - 1 ? "y" : `t${i + 1}`],
    })),
  });
