import { Graph } from "../graph.js";
import type { Node, Value } from "../op.js";

/** Finds the counterpart in the new graph of a value of the old one. */
export type Lookup = (value: Value) => Value;

/**
 * A new graph in which every node is what `visit` makes of it: the shared walk of all passes.
 *
 * Leaves and outputs keep their names, and what `visit` makes stands where the node stood. `visit` gives the new values of the node's outputs, or undefined to drop the node.
 */
export const rewrite = (
  graph: Graph,
  visit: (node: Node, lookup: Lookup, target: Graph) => readonly Value[] | undefined,
): Graph => {
  const target = new Graph();
  const map = new Map<number, Value>();
  const lookup: Lookup = (value) => {
    const known = map.get(value.id);
    if (known) return known;
    const constant = graph.constants.get(value.id);
    if (!constant)
      throw new RangeError(`Cannot rewrite the graph: found a value that no node made`);
    const copy = target.constant(value.dtype, value.shape as readonly number[], constant.data);
    map.set(value.id, copy);
    return copy;
  };
  for (const [name, value] of graph.inputs)
    map.set(value.id, target.input(name, value.dtype, value.shape));
  for (const [name, value] of graph.weights)
    map.set(value.id, target.weight(name, value.dtype, value.shape as readonly number[]));
  for (const node of graph.nodes) {
    const made = target.inPlaceOf(node, () => visit(node, lookup, target));
    node.outputs.forEach((output, i) => {
      const value = made?.[i];
      if (value) map.set(output.id, value);
    });
  }
  for (const [name, value] of graph.outputs) target.output(name, lookup(value));
  return target;
};

/** The node's copy onto the new graph's values. */
export const copied = (node: Node, lookup: Lookup, target: Graph): readonly Value[] =>
  target.copyNode(node, node.inputs.map(lookup));
