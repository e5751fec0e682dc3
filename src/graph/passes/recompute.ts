import type { Graph } from "../graph.js";
import type { Value } from "../op.js";
import { copied, rewrite } from "./rewrite.js";

/** Values of one recomputable part that another one starts from: these stay in memory in any case. */
const boundaries = (graph: Graph): ReadonlySet<number> => {
  const ids = new Set<number>();
  for (const { backward, segment, inputs } of graph.nodes) {
    if (backward || segment === undefined) continue;
    for (const { id, producer } of inputs)
      if (producer?.segment !== undefined && producer.segment !== segment) ids.add(id);
  }
  return ids;
};

/**
 * The graph in which backward work computes the values of recomputable parts again instead of keeping them alive
 * (gradient checkpointing, and the cheap form of it: W0 * (1 + B A), norms and activations).
 *
 * A part is copied once, from the values outside it that it reads. What other parts read of it (a layer's output, which is
 * the next one's input) is kept, so that no part is begun before its own turn, or finished for nothing. The runtime's own
 * common-subexpression pass would undo this: sessions of such a graph switch it off. Copies stand where backward first needs
 * them.
 * Source: Chen et al., "Training Deep Nets with Sublinear Memory Cost".
 */
export const recompute = (graph: Graph): Graph => {
  const kept = boundaries(graph);
  const again = new Map<number, Value>();
  return rewrite(graph, (node, lookup, target) => {
    if (!node.backward) return copied(node, lookup, target);
    const afresh = (value: Value): Value => {
      const { producer } = value;
      if (!producer || producer.backward || producer.segment === undefined || kept.has(value.id))
        return lookup(value);
      const known = again.get(value.id);
      if (known) return known;
      const inputs = producer.inputs.map((input) =>
        input.producer?.segment === producer.segment ? afresh(input) : lookup(input),
      );
      const outputs = target.copyNode(producer, inputs, { backward: true, segment: undefined });
      producer.outputs.forEach((output, i) => again.set(output.id, outputs[i] as Value));
      return outputs[value.index] as Value;
    };
    return target.copyNode(node, node.inputs.map(afresh));
  });
};
