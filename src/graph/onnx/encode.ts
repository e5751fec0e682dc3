import type { Shape } from "../../core/dim.js";
import { dtypes, elementCount, type DType } from "../../core/dtype.js";
import type { Graph } from "../graph.js";
import { nodeHeights } from "../node-heights.js";
import type { Node, OnnxAttribute, Value } from "../op.js";
import {
  bytesField,
  floatField,
  integerField,
  messageField,
  packedIntegersField,
} from "./protobuf.js";

const OPSET = 18;
const IR_VERSION = 9;

/**
 * A graph as the bytes of an ONNX file (ModelProto), opset 18 with ONNX Runtime's com.microsoft ops.
 *
 * Weights become external initializers at the location "weights"; the session supplies their memory by name.
 * The nodes stand in the order that makes ONNX Runtime keep little alive, see executionOrder.
 * With `shapes` the file says the shape of every value, with our names for sizes: a runtime infers less of them.
 * Source: onnx.proto.
 */
export const encodeOnnx = (
  graph: Graph,
  { shapes = false }: { readonly shapes?: boolean } = {},
): Uint8Array => {
  const names = new Map<number, string>();
  const name = (value: Value): string => names.get(value.id) ?? `v${String(value.id)}`;
  for (const table of [graph.inputs, graph.weights, graph.outputs])
    for (const [key, value] of table) names.set(value.id, key);
  // A constant that is written once and read under its plain name.
  const used = new Set(graph.nodes.flatMap((node) => node.inputs.map((input) => input.id)));

  const body = [
    ...executionOrder(graph).map((node) => messageField(1, encodeNode(node, name))),
    bytesField(2, "hira"),
    ...[...graph.weights].map(([key, value]) => messageField(5, encodeExternal(key, value))),
    ...[...graph.constants.values()]
      .filter(({ value }) => used.has(value.id))
      .map(({ value, data }) =>
        messageField(5, [
          ...encodeTensorType(value.dtype, value.shape as readonly number[]),
          bytesField(8, name(value)),
          bytesField(9, new Uint8Array(data.buffer, data.byteOffset, data.byteLength)),
        ]),
      ),
    ...[...graph.inputs].map(([key, value]) => messageField(11, encodeValueInfo(key, value))),
    ...[...graph.outputs].map(([key, value]) => messageField(12, encodeValueInfo(key, value))),
    ...(shapes ? graph.nodes.flatMap(({ outputs }) => outputs) : [])
      .filter(({ id }) => !names.has(id))
      .map((value) => messageField(13, encodeValueInfo(name(value), value))),
  ];
  return Buffer.concat([
    integerField(1, IR_VERSION),
    bytesField(2, "hira"),
    messageField(7, body),
    messageField(8, [bytesField(1, ""), integerField(2, OPSET)]),
    messageField(8, [bytesField(1, "com.microsoft"), integerField(2, 1)]),
  ]);
};

/**
 * Nodes by height (the longest way to them from an input), then the leaves: forward ones first, the highest first.
 *
 * ONNX Runtime executes in reverse depth-first order: it starts from the last leaf, and of a node's operands it finishes the
 * later one in the file first. So a product's activation or gradient is made before its weight, which is cast and scaled just
 * before its one use instead of a whole model ahead; and the gradients of the last layer, which are the lowest backward
 * leaves, are finished, and their activations dropped, before the next layer's begin. The loss comes after them, so that the
 * logits of one chunk of rows are used up before the next chunk's are made.
 *
 * A HiRA step of SmolLM2-135M (bf16, 8 x 128) then peaks at 1,545 MiB; in the order in which nodes are made, at 2,340
 * (scripts/bench/step-worker.ts).
 * Source: Graph::ReverseDFSFrom with NodeCompare, in ONNX Runtime 1.30's core/graph/graph.cc; seen in its profiles.
 */
const executionOrder = (graph: Graph): readonly Node[] => {
  const read = new Set(graph.nodes.flatMap((node) => node.inputs.map((input) => input.id)));
  const isLeaf = (node: Node) => !node.outputs.some((output) => read.has(output.id));
  const heights = nodeHeights(graph);
  const heightOf = (node: Node): number => heights.get(node) ?? 0;
  // The sort is stable: nodes of one height stay as they were made.
  const rising = graph.nodes.toSorted((a, b) => heightOf(a) - heightOf(b));
  const leaves = rising.filter(isLeaf);
  return [
    ...rising.filter((node) => !isLeaf(node)),
    ...leaves.filter((node) => !node.backward),
    ...leaves.filter((node) => node.backward).reverse(),
  ];
};

const encodeNode = (node: Node, name: (value: Value) => string): readonly Buffer[] => {
  const { op } = node;
  const attributes = Object.entries(op.attributes?.(node.attrs) ?? {});
  return [
    ...node.inputs.map((input) => bytesField(1, name(input))),
    ...node.outputs.map((output) => bytesField(2, name(output))),
    bytesField(3, `${node.scope}/${op.opType}_${String(node.id)}`),
    bytesField(4, op.opType),
    ...attributes.map(([key, attribute]) => messageField(5, encodeAttribute(key, attribute))),
    ...(op.domain ? [bytesField(7, op.domain)] : []),
  ];
};

/** AttributeProto: field 20 names the kind (1 float, 2 int, 3 string, 7 ints). */
const encodeAttribute = (key: string, attribute: OnnxAttribute): readonly Buffer[] => {
  const named = bytesField(1, key);
  if ("int" in attribute) return [named, integerField(3, attribute.int), integerField(20, 2)];
  if ("float" in attribute) return [named, floatField(2, attribute.float), integerField(20, 1)];
  if ("string" in attribute) return [named, bytesField(4, attribute.string), integerField(20, 3)];
  return [named, packedIntegersField(8, attribute.ints), integerField(20, 7)];
};

const encodeTensorType = (dtype: DType, shape: readonly number[]): readonly Buffer[] => [
  packedIntegersField(1, shape),
  integerField(2, dtypes[dtype].onnx),
];

const encodeExternal = (key: string, { dtype, shape }: Value): readonly Buffer[] => {
  const sizes = shape as readonly number[];
  const entry = (field: string, value: string) =>
    messageField(13, [bytesField(1, field), bytesField(2, value)]);
  return [
    ...encodeTensorType(dtype, sizes),
    bytesField(8, key),
    entry("location", "weights"),
    entry("offset", "0"),
    entry("length", String(elementCount(sizes) * dtypes[dtype].bytes)),
    integerField(14, 1),
  ];
};

const encodeValueInfo = (
  key: string,
  { dtype, shape }: { dtype: DType; shape: Shape },
): readonly Buffer[] => {
  const dims = shape.map((dim) =>
    messageField(1, [typeof dim === "number" ? integerField(1, dim) : bytesField(2, dim)]),
  );
  const tensor = messageField(1, [integerField(1, dtypes[dtype].onnx), messageField(2, dims)]);
  return [bytesField(1, key), messageField(2, [tensor])];
};
