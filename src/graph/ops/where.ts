import { broadcastShapes } from "../../core/dim.js";
import { refuse, type Op, type Value } from "../op.js";

/** y = a where the condition holds, else b, with broadcasting. Source: ONNX Where, opset 16. */
export const where: Op<readonly [condition: Value, a: Value, b: Value]> = {
  opType: "Where",
  inHalf: "exact",
  infer([condition, a, b]) {
    const values = broadcastShapes(a.shape, b.shape);
    const shape = values && broadcastShapes(condition.shape, values);
    if (condition.dtype !== "bool" || a.dtype !== b.dtype || !shape)
      return refuse("Where", [condition, a, b], "a bool condition and shapes that broadcast");
    return [{ dtype: a.dtype, shape }];
  },
  gradient({ g, dy, inputs: [condition] }) {
    const zero = g.scalar(0, dy.dtype);
    return [undefined, g.where(condition, dy, zero), g.where(condition, zero, dy)];
  },
};
