import type { Graph } from "../../graph/graph.js";
import { opName, type Node, type Value } from "../../graph/op.js";
import { fusedMatMul, matMul, type MatMulAttrs } from "../../graph/ops/matmul.js";
import { identity } from "../../graph/ops/identity.js";
import { transpose } from "../../graph/ops/transpose.js";
import { copied, rewrite } from "../../graph/passes/rewrite.js";

/** Ends the name of a weight that has the elements of another one, in memory of its own. */
const twinSuffix = " (twin)";

/** The weight whose elements a twin has; undefined for a weight that is none. */
export const originalOf = (name: string): string | undefined =>
  name.endsWith(twinSuffix) ? name.slice(0, -twinSuffix.length) : undefined;

const isProduct = (node: Node): boolean =>
  node.op === (matMul as unknown) || node.op === (fusedMatMul as unknown);

const exchangesLastAxes = (perm: readonly number[]): boolean =>
  perm.length >= 2 && perm.at(-1) === perm.length - 2 && perm.at(-2) === perm.length - 1;

/**
 * The graph in which no square matrix that is known before the run is a factor both as it is and transposed: one of the two
 * readers gets a twin with its own storage.
 *
 * OpenVINO's CPU plugin keeps packed weights under a key of sizes and address that has not the orientation in it, so that one of two
 * such products is computed with the other's weight, without a word: in float32 of OpenVINO 2026.4 the gradients below a frozen
 * square projection are wrong, at every size and in every form (Gemm, MatMul, batches, a cast in between). Two initializers
 * with the same bytes but different addresses are right. test/runtime/openvino.test.ts has the two nodes.
 */
export const twinSquareWeights = (graph: Graph): Graph => {
  /** Whether a value is made of weights and constants alone. */
  const known = new Map<number, boolean>();
  const isKnown = (value: Value): boolean => {
    const found = known.get(value.id);
    if (found !== undefined) return found;
    const { producer } = value;
    const made = producer
      ? producer.inputs.length > 0 && producer.inputs.every(isKnown)
      : !graph.inputs.has(nameOfInput.get(value.id) ?? "");
    known.set(value.id, made);
    return made;
  };
  const nameOfInput = new Map([...graph.inputs].map(([name, { id }]) => [id, name]));

  const weightNames = new Map([...graph.weights].map(([name, { id }]) => [id, name]));
  /** Equal for values that are computed alike from the same leaves: OpenVINO merges such nodes before it folds them. */
  const keys = new Map<number, string>();
  const numbers = new Map<string, string>();
  const keyOf = (value: Value): string => {
    const ready = keys.get(value.id);
    if (ready !== undefined) return ready;
    const { producer } = value;
    const text = producer
      ? [
          opName(producer.op),
          JSON.stringify(producer.attrs),
          value.index,
          ...producer.inputs.map(keyOf),
        ].join("|")
      : (weightNames.get(value.id) ?? String(value.id));
    const key = producer ? (numbers.get(text) ?? `#${String(numbers.size)}`) : text;
    if (producer) numbers.set(text, key);
    keys.set(value.id, key);
    return key;
  };

  /** What a factor is before it was turned, by its key, and whether it was; undefined where it is no known square. */
  const squareOf = (
    factor: Value,
    turned: boolean,
  ): { readonly root: string; readonly turned: boolean } | undefined => {
    const [rows, columns] = factor.shape.slice(-2);
    if (rows !== columns || !isKnown(factor)) return undefined;
    let [root, isTurned] = [factor, turned];
    for (let node = root.producer; node; node = root.producer) {
      if (node.op === (transpose as unknown)) {
        const { perm } = node.attrs as { readonly perm: readonly number[] };
        if (exchangesLastAxes(perm)) isTurned = !isTurned;
      } else if (node.op !== (identity as unknown)) break;
      root = node.inputs[0] as Value;
    }
    return { root: keyOf(root), turned: isTurned };
  };
  const factorOf = (node: Node) => {
    const [, right] = node.inputs;
    if (!isProduct(node) || !right) return undefined;
    return squareOf(right, (node.attrs as MatMulAttrs).transB);
  };

  const firstTurned = new Map<string, boolean>();
  const readTwice = new Set<string>();
  for (const node of graph.nodes) {
    const factor = factorOf(node);
    if (!factor) continue;
    const { root, turned } = factor;
    const first = firstTurned.get(root);
    if (first === undefined) firstTurned.set(root, turned);
    else if (first !== turned) readTwice.add(root);
  }
  if (readTwice.size === 0) return graph;

  const twins = new Map<number, Value>();
  return rewrite(graph, (node, lookup, target) => {
    const factor = factorOf(node);
    if (!factor || !readTwice.has(factor.root)) return copied(node, lookup, target);
    if (firstTurned.get(factor.root) === factor.turned) return copied(node, lookup, target);
    const twinOf = (value: Value): Value => {
      const ready = twins.get(value.id);
      if (ready) return ready;
      const { producer } = value;
      const name = weightNames.get(value.id);
      const constant = graph.constants.get(value.id);
      const shape = value.shape as readonly number[];
      let made: Value;
      if (producer)
        made = target.copyNode(producer, producer.inputs.map(twinOf))[value.index] as Value;
      else if (name !== undefined) made = target.weight(name + twinSuffix, value.dtype, shape);
      else if (constant) made = target.constant(value.dtype, shape, constant.data.slice());
      else made = lookup(value);
      twins.set(value.id, made);
      return made;
    };
    return target.copyNode(
      node,
      node.inputs.map((input, i) => (i === 1 ? twinOf(input) : lookup(input))),
    );
  });
};
