import type { Op, Value } from "../op.js";
import { inferBits } from "./elementwise.js";

/** The bits of a, moved by b places; zeros follow. With broadcasting. Source: ONNX BitShift, opset 11. */
export const bitShift: Op<readonly [a: Value, b: Value], { readonly direction: "LEFT" | "RIGHT" }> =
  {
    opType: "BitShift",
    infer: ([a, b]) => [inferBits("BitShift", a, b)],
    attributes: ({ direction }) => ({ direction: { string: direction } }),
  };
