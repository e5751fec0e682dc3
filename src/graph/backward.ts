import { sameShape } from "../core/dim.js";
import { isFloat } from "../core/dtype.js";
import type { Graph } from "./graph.js";
import { describe, opName, type Value } from "./op.js";

/**
 * Adds the gradients of a sum of `loss`'s elements with regard to each of `wrt`: reverse mode, graph to graph.
 *
 * Only paths from `wrt` to the loss are walked, so frozen weights get no gradient work (what a rule makes besides falls to
 * `prune`). `wrt` may hold inputs, weights or any value. One that the loss does not depend on is an error.
 * @returns the gradients in the order of `wrt`, each of its value's shape and dtype
 * @throws {RangeError} naming the op and the types where an op on the way has no gradient rule, or a rule breaks its contract
 */
export const backward = (g: Graph, loss: Value, wrt: readonly Value[]): readonly Value[] =>
  g.inBackward(() => {
    const depends = dependents(g, wrt);
    if (!depends.has(loss.id))
      throw new RangeError(
        "Cannot differentiate: found a loss that depends on none of the trainable values",
      );
    const gradients = new Map<number, Value>();
    const accumulate = (value: Value, gradient: Value): void => {
      const known = gradients.get(value.id);
      gradients.set(value.id, known ? g.add(known, gradient) : gradient);
    };
    accumulate(loss, g.expand(g.scalar(1, loss.dtype), loss.shape));

    for (const node of [...g.nodes].reverse()) {
      const dOutputs = node.outputs.map((output) => gradients.get(output.id));
      const dy = dOutputs[0] ?? dOutputs.find((gradient) => gradient !== undefined);
      if (!dy || !node.inputs.some((input) => depends.has(input.id))) continue;
      const { op } = node;
      const at = `${opName(op)}(${describe(node.inputs)})${node.scope === "" ? "" : ` in ${node.scope}`}`;
      const fail = (reason: string): never => {
        throw new RangeError(`Cannot differentiate ${at}: ${reason}`);
      };
      const refuse = (expected: string): never => fail(`expected ${expected}`);
      const { inputs, outputs, attrs } = node;
      const side = op.takesAllGradients ? -1 : dOutputs.findIndex((d, i) => i > 0 && d);
      if (side > 0) fail(`output ${String(side)} has no gradient`);
      g.inPlaceOf({ ...node, backward: true, segment: undefined }, () => {
        const context = { g, inputs, outputs, dy, dOutputs, attrs, refuse };
        const dInputs = op.gradient?.(context) ?? fail("the op has no gradient");
        inputs.forEach((input, i) => {
          if (!depends.has(input.id)) return;
          const gradient = dInputs[i] ?? fail(`input ${String(i)} has no gradient`);
          accumulate(input, sumToShape(g, gradient, input, at));
        });
      });
    }
    return wrt.map((value, i) => {
      const gradient = gradients.get(value.id);
      if (gradient) return gradient;
      throw new RangeError(
        `Cannot differentiate: the loss does not depend on trainable value ${String(i)} (${describe([value])})`,
      );
    });
  });

/** Ids of the values through which a change of `roots` moves others, the roots included: floating-point ones alone. */
const dependents = (g: Graph, roots: readonly Value[]): ReadonlySet<number> => {
  const ids = new Set(roots.map((root) => root.id));
  for (const node of g.nodes) {
    if (!node.op.stopsGradient && node.inputs.some((input) => ids.has(input.id)))
      for (const output of node.outputs) if (isFloat(output.dtype)) ids.add(output.id);
  }
  return ids;
};

/** Sums a gradient over the axes along which its value was broadcast. */
const sumToShape = (g: Graph, gradient: Value, value: Value, at: string): Value => {
  const wrong = (): never => {
    throw new RangeError(
      `Cannot differentiate ${at}: its rule made ${describe([gradient])}, expected ${describe([value])}`,
    );
  };
  if (gradient.dtype !== value.dtype) wrong();
  if (sameShape(gradient.shape, value.shape)) return gradient;
  const extra = gradient.shape.length - value.shape.length;
  const axes = [...gradient.shape.keys()].filter((axis) => {
    const dim = value.shape[axis - extra];
    return axis < extra || (dim === 1 && gradient.shape[axis] !== 1);
  });
  const summed = gradient.shape.map((dim, axis) => (axes.includes(axis) ? 1 : dim)).slice(extra);
  if (extra < 0 || !sameShape(summed, value.shape)) wrong();
  return g.reshape(g.reduceSum(gradient, { axes, keepdims: true }), value.shape);
};
