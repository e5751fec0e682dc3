import { refuse, type Op, type Value } from "../op.js";
import { offsetOf, take } from "./folding.js";

/** Axis i of y is axis perm[i] of x; dx turns the axes back. Source: ONNX Transpose, opset 13. */
export const transpose: Op<readonly [x: Value], { readonly perm: readonly number[] }> = {
  opType: "Transpose",
  inHalf: "exact",
  infer([x], { perm }) {
    const sorted = [...perm].sort((a, b) => a - b);
    if (perm.length !== x.shape.length || sorted.some((axis, i) => axis !== i))
      refuse("Transpose", [x], `a tensor whose axes [${perm.join(", ")}] permutes`);
    return [{ dtype: x.dtype, shape: perm.map((axis) => x.shape[axis] ?? 0) }];
  },
  attributes: ({ perm }) => ({ perm: { ints: perm } }),
  gradient: ({ g, dy, attrs: { perm } }) => [
    g.transpose(
      dy,
      perm.map((_, axis) => perm.indexOf(axis)),
    ),
  ],
  fold([x], { perm }, shape) {
    const inverse = perm.map((_, axis) => perm.indexOf(axis));
    return (
      x &&
      take(x, shape, (place) =>
        offsetOf(
          x.shape,
          inverse.map((axis) => place[axis] ?? 0),
        ),
      )
    );
  },
};

/** The matrix whose axes a node exchanges to make `x`; undefined where none does. */
export const turnedFrom = ({ producer, shape }: Value): Value | undefined =>
  producer?.op === transpose && shape.length === 2 ? producer.inputs[0] : undefined;
