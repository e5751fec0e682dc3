import type { Builder, Op, Value } from "../op.js";

/** 0 as [], which the runtime cannot know before it has x. Its elements are multiplied first: a sum of them may be infinite. */
const nothingOf = (g: Builder, x: Value, zero: Value): Value => {
  const column = g.gather(x, g.scalar(0, "int64"), { axis: -1 });
  return g.reduceSum(g.mul(column, zero), { axes: [...column.shape.keys()] });
};

/**
 * y_i = x_i, tensors whose gradients are made at one time: none of them is used before all are there.
 *
 * So what the formulas of these gradients share is dropped at once, wherever the runtime comes to the first of them: the probabilities of
 * one block of attention are not held, while those of other blocks are made, until another leaf asks for them. `zero` is 0, float [], an
 * input of the graph: a constant would be folded away. `empty`, bool [], says that the gradients are sums of nothing, zeros whatever they hold:
 * ONNX Runtime 1.30's FusedMatMul of stacked matrices writes the first product alone where their inner size is 0.
 * It is for the reverse walk alone: dropJoints takes the node out.
 */
export const joint: Op<readonly [zero: Value, empty: Value, ...values: Value[]]> = {
  opType: "Joint",
  infer: ([, , ...values]) => values.map(({ dtype, shape }) => ({ dtype, shape })),
  takesAllGradients: true,
  gradient({ g, dOutputs, inputs: [zero, empty] }) {
    const made = dOutputs.filter((gradient) => gradient !== undefined);
    const nothing = made
      .map((gradient) => nothingOf(g, gradient, zero))
      .reduce((a, b) => g.add(a, b));
    const one = g.scalar(1, zero.dtype);
    // False for NaN, of gradients that are infinite: they go on as they are.
    const isEmpty = g.lessOrEqual(one, g.where(empty, one, nothing));
    return [
      undefined,
      undefined,
      ...dOutputs.map(
        (gradient) => gradient && g.where(isEmpty, g.scalar(0, gradient.dtype), gradient),
      ),
    ];
  },
};
