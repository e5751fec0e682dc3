import { multiplyDims, type Shape } from "../../core/dim.js";
import { refuse, type Op, type Value } from "../op.js";

/**
 * The same elements in another shape, row by row; dx = dy in x's shape. `shape` is int64 [rank]: see Graph.reshape.
 *
 * Source: ONNX Reshape, opset 14.
 */
export const reshape: Op<
  readonly [x: Value, shape: Value],
  {
    readonly to: Shape;
    readonly sameCount: boolean;
    /** Whether a 0 in `shape` stands for x's size along that axis; otherwise it is a size of 0. */
    readonly zeroCopies: boolean;
  }
> = {
  opType: "Reshape",
  inHalf: "exact",
  infer([x], { to, sameCount }) {
    if (!sameCount && multiplyDims(...x.shape) !== multiplyDims(...to))
      refuse("Reshape", [x], `a tensor with as many elements as [${to.join(", ")}]`);
    return [{ dtype: x.dtype, shape: to }];
  },
  attributes: ({ zeroCopies }) => ({ allowzero: { int: Number(!zeroCopies) } }),
  gradient: ({ g, dy, inputs: [x], attrs: { sameCount } }) => [
    g.reshape(dy, x.shape, { sameCount }),
    undefined,
  ],
  fold: ([x]) => x?.data,
};

/**
 * Sizes of a reshaped tensor that ONNX completes at run time: 0 takes the size over from the same axis of `from`, one -1 takes
 * what is left.
 *
 * @returns undefined where that does not say it all
 */
export const reshapeShorthand = (sizes: Shape, from: Shape): readonly number[] | undefined => {
  const shorthand = sizes.map((size, i) =>
    typeof size === "number" ? size : size === from[i] ? 0 : -1,
  );
  const unknown = shorthand.filter((size) => size === -1).length;
  return unknown <= 1 && !sizes.includes(0) ? shorthand : undefined;
};
