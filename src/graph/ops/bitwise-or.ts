import type { Op, Value } from "../op.js";
import { inferBits } from "./elementwise.js";

/** The bits that one or the other has, with broadcasting. Source: ONNX BitwiseOr, opset 18. */
export const bitwiseOr: Op<readonly [a: Value, b: Value]> = {
  opType: "BitwiseOr",
  infer: ([a, b]) => [inferBits("BitwiseOr", a, b)],
};
