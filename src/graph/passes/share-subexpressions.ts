import type { Graph } from "../graph.js";
import { opName, type Value } from "../op.js";
import { copied, rewrite } from "./rewrite.js";

/**
 * The graph in which equal nodes (op, attributes and inputs) are one.
 *
 * Equal constants count as one value too. Nodes of different recomputable parts stay apart: one part must not keep
 * another's values alive. Run it before `recompute`, whose copies are equal on purpose.
 */
export const shareSubexpressions = (graph: Graph): Graph => {
  const known = new Map<string, readonly Value[]>();
  const firstIds = new Map<string, readonly number[]>();
  const constants = new Map<string, number>();
  const key = (value: Value): string => {
    const constant = graph.constants.get(value.id);
    if (!constant || constant.data.length > 64) return String(value.id);
    const text = `${value.dtype} ${value.shape.join()} ${constant.data.join()}`;
    const first = constants.get(text) ?? value.id;
    constants.set(text, first);
    return String(first);
  };
  const merged = new Map<number, number>();
  return rewrite(graph, (node, lookup, target) => {
    const inputs = node.inputs.map((input) => merged.get(input.id) ?? key(input));
    const { op, attrs, segment = "" } = node;
    const name = [opName(op), JSON.stringify(attrs), segment, inputs.join()].join("|");
    const same = known.get(name);
    if (same) {
      // Later nodes that read this one are then equal to those that read the first.
      node.outputs.forEach((output, i) =>
        merged.set(output.id, firstIds.get(name)?.[i] ?? output.id),
      );
      return same;
    }
    const made = copied(node, lookup, target);
    known.set(name, made);
    firstIds.set(
      name,
      node.outputs.map((output) => output.id),
    );
    return made;
  });
};
