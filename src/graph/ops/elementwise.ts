import { broadcastShapes } from "../../core/dim.js";
import { isFloat } from "../../core/dtype.js";
import { refuse, type TensorType, type Value } from "../op.js";

/** The type of an elementwise result of two tensors of one dtype, by ONNX's multidirectional broadcasting. */
export const inferBroadcast = (op: string, a: Value, b: Value): TensorType => {
  if (a.dtype !== b.dtype) refuse(op, [a, b], "one dtype");
  const shape = broadcastShapes(a.shape, b.shape) ?? refuse(op, [a, b], "shapes that broadcast");
  return { dtype: a.dtype, shape };
};

/** The type of an elementwise function of one floating-point tensor. */
export const inferFloat = (op: string, x: Value): TensorType =>
  isFloat(x.dtype) ? { dtype: x.dtype, shape: x.shape } : refuse(op, [x], "a floating-point dtype");

/** The type of an elementwise function of the bits of two tensors. ONNX Runtime's BitShift knows no narrow type but uint8. */
export const inferBits = (op: string, a: Value, b: Value): TensorType =>
  a.dtype === "uint8" ? inferBroadcast(op, a, b) : refuse(op, [a, b], "uint8");
