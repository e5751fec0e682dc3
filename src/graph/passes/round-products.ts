import type { Graph } from "../graph.js";
import type { Value } from "../op.js";
import { rewrite } from "./rewrite.js";

/**
 * The same graph in float32, in which factors and results of every matrix product are rounded to 16 bits: what these bits alone do to its
 * results, whatever computes them.
 */
export const roundProducts = (graph: Graph, compute: "bfloat16" | "float16"): Graph =>
  rewrite(graph, (node, lookup, target) => {
    const found = node.inputs.map(lookup);
    if (node.op.inHalf !== "product") return target.copyNode(node, found);
    const rounded = (value: Value): Value =>
      value.dtype === "float32" ? target.cast(target.cast(value, compute), "float32") : value;
    return target.copyNode(node, found.map(rounded)).map(rounded);
  });
