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
