import { broadcastShapes, sameShape, type Shape } from "../../core/dim.js";
import { refuse, type Op, type Value } from "../op.js";
import { offsetOf, take } from "./folding.js";

/** x repeated to a shape that it broadcasts to; the reverse walk sums dy back. Source: ONNX Expand, opset 13. */
export const expand: Op<readonly [x: Value, shape: Value], { readonly to: Shape }> = {
  opType: "Expand",
  inHalf: "exact",
  infer([x], { to }) {
    const shape = broadcastShapes(x.shape, to);
    if (!shape || !sameShape(shape, to))
      refuse("Expand", [x], `a shape that broadcasts to [${to.join(", ")}]`);
    return [{ dtype: x.dtype, shape: to }];
  },
  gradient: ({ dy }) => [dy, undefined],
  fold: ([x], _attrs, shape) => x && take(x, shape, (place) => offsetOf(x.shape, place)),
};
