import type { Shape } from "../../core/dim.js";
import { elementCount, type DType } from "../../core/dtype.js";
import type { Graph } from "../graph.js";
import { copied, rewrite } from "./rewrite.js";

/** Larger results stay nodes: a table of zeros costs nothing to make and much to store. */
const MAX_ELEMENTS = 4096;

/**
 * The graph in which nodes that read small constants alone are constants; each op says how.
 *
 * Only ops whose result is exact or correctly rounded are folded, so that no bit of any output changes; float16 and
 * bfloat16 stay. Nodes and constants that nobody reads any more fall to `prune` and to the encoder.
 */
export const foldConstants = (graph: Graph): Graph =>
  rewrite(graph, (node, lookup, target) => {
    const [output] = node.outputs;
    const { op } = node;
    const shape = output?.shape;
    if (!output || !op.fold || !isSmall(shape) || !foldedTypes.has(output.dtype))
      return copied(node, lookup, target);
    const inputs = node.inputs.flatMap((input) => {
      const constant = target.constants.get(lookup(input).id);
      return constant && foldedTypes.has(input.dtype)
        ? [{ dtype: input.dtype, shape: input.shape as readonly number[], data: constant.data }]
        : [];
    });
    if (inputs.length < node.inputs.length) return copied(node, lookup, target);
    const data = op.fold(inputs, node.attrs, shape);
    return data ? [target.constant(output.dtype, shape, data)] : copied(node, lookup, target);
  });

const foldedTypes: ReadonlySet<DType> = new Set(["float32", "float64", "int64", "bool"]);

const isSmall = (shape: Shape | undefined): shape is readonly number[] =>
  shape !== undefined &&
  shape.every((dim) => typeof dim === "number") &&
  elementCount(shape) <= MAX_ELEMENTS;
