import type { Graph } from "../graph.js";
import { copied, rewrite } from "./rewrite.js";

/** The graph without the nodes and weights that no output reads. Inputs stay: they are what the caller feeds. */
export const prune = (graph: Graph): Graph => {
  const read = new Set([...graph.outputs.values()].map((value) => value.id));
  for (const node of [...graph.nodes].reverse())
    if (node.outputs.some((output) => read.has(output.id)))
      for (const input of node.inputs) read.add(input.id);
  const pruned = rewrite(graph, (node, lookup, target) =>
    node.outputs.some((output) => read.has(output.id)) ? copied(node, lookup, target) : undefined,
  );
  for (const [name, weight] of graph.weights) if (!read.has(weight.id)) pruned.weights.delete(name);
  return pruned;
};
