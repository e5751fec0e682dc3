import type { Graph } from "../graph.js";
import type { Value } from "../op.js";
import { copied, rewrite } from "./rewrite.js";

/**
 * The graph in which backward work computes the values of recomputable parts again instead of keeping them alive
 * (gradient checkpointing, and the cheap form of it: W0 * (1 + B A), norms and activations).
 *
 * A part is copied once, from the values outside it that it reads. The runtime's own common-subexpression pass would
 * undo this: sessions of such a graph switch it off. Copies stand where backward first needs them.
 * Source: Chen et al., "Training Deep Nets with Sublinear Memory Cost".
 */
export const recompute = (graph: Graph): Graph => {
  const again = new Map<number, Value>();
  return rewrite(graph, (node, lookup, target) => {
    if (!node.backward) return copied(node, lookup, target);
    const afresh = (value: Value): Value => {
      const { producer } = value;
      if (!producer || producer.backward || producer.segment === undefined) return lookup(value);
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
