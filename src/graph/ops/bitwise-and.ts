import type { Op, Value } from "../op.js";
import { inferBits } from "./elementwise.js";

/** The bits that both have, with broadcasting. Source: ONNX BitwiseAnd, opset 18. */
export const bitwiseAnd: Op<readonly [a: Value, b: Value]> = {
  opType: "BitwiseAnd",
  infer: ([a, b]) => [inferBits("BitwiseAnd", a, b)],
};
