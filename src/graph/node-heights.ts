import type { Graph } from "./graph.js";
import type { Node } from "./op.js";

/** The longest way to each node from an input of the graph: 1 for one that reads inputs alone. */
export const nodeHeights = (graph: Pick<Graph, "nodes">): ReadonlyMap<Node, number> => {
  const heights = new Map<Node, number>();
  for (const node of graph.nodes) {
    const below = node.inputs.map(({ producer }) => (producer && heights.get(producer)) ?? 0);
    heights.set(node, 1 + Math.max(0, ...below));
  }
  return heights;
};
