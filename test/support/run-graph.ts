import type { TypedArray } from "../../src/core/dtype.js";
import type { Graph } from "../../src/graph/graph.js";
import { opName } from "../../src/graph/op.js";
import { encodeOnnx } from "../../src/graph/onnx/encode.js";
import { OrtSession } from "../../src/runtime/ort/session.js";
import type { SessionOptions } from "../../src/runtime/session.js";
import { Tensor } from "../../src/runtime/tensor.js";

/** float32 numbers as a tensor. */
export const float32 = (shape: readonly number[], numbers: Iterable<number>): Tensor =>
  Tensor.fromArray("float32", shape, Float32Array.from(numbers));

/** int64 numbers as a tensor. */
export const int64 = (shape: readonly number[], numbers: Iterable<number>): Tensor =>
  Tensor.fromArray("int64", shape, BigInt64Array.from([...numbers].map(BigInt)));

/** Runs a graph once: its outputs' elements, copied, by name. Weights are looked up in `feeds` too. */
export const runGraph = async (
  graph: Graph,
  feeds: Readonly<Record<string, Tensor>> = {},
  options: Partial<SessionOptions> = {},
): Promise<Readonly<Record<string, TypedArray>>> => {
  const find = (names: Iterable<string>) =>
    Object.fromEntries(
      [...names].map((name) => {
        const tensor = feeds[name];
        if (!tensor) throw new RangeError(`no tensor for ${name}`);
        return [name, tensor];
      }),
    );
  const session = await OrtSession.create({
    model: encodeOnnx(graph),
    initializers: find(graph.weights.keys()),
    threads: 1,
    disabledOptimizers: ["CommonSubexpressionElimination", "ConstantFolding"],
    ...options,
  });
  try {
    const results = await session.run(find(graph.inputs.keys()), {}, { sync: true });
    return Object.fromEntries(
      Object.entries(results).map(([name, tensor]) => {
        const copy = tensor.data.slice();
        tensor.dispose();
        return [name, copy];
      }),
    );
  } finally {
    session.dispose();
  }
};

/** How many nodes of each op a graph has. */
export const countOps = (
  graph: Graph,
  counts: (node: Graph["nodes"][number]) => boolean = () => true,
): Readonly<Record<string, number>> => {
  const found: Record<string, number> = {};
  for (const node of graph.nodes)
    if (counts(node)) found[opName(node.op)] = (found[opName(node.op)] ?? 0) + 1;
  return found;
};
