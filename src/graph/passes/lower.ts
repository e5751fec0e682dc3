import type { Graph } from "../graph.js";
import { copied, rewrite } from "./rewrite.js";

/** The graph with ops that the provider lacks (for their dtype) written in those that it has; each op says how. */
export const lower = (graph: Graph): Graph =>
  rewrite(
    graph,
    (node, lookup, target) =>
      node.op.lower?.(target, node.inputs.map(lookup), node.attrs) ?? copied(node, lookup, target),
  );
