import type { Graph } from "../graph.js";
import { joint } from "../ops/joint.js";
import { copied, rewrite } from "./rewrite.js";

/** The graph without the nodes of `joint`, which mean something to the reverse walk alone. */
export const dropJoints = (graph: Graph): Graph =>
  rewrite(graph, (node, lookup, target) =>
    (node.op as unknown) === joint
      ? node.inputs.slice(2).map(lookup)
      : copied(node, lookup, target),
  );
