import type { DType } from "../../core/dtype.js";
import type { Graph } from "../graph.js";
import { copied, rewrite } from "./rewrite.js";

/** Whether there is a kernel for an op, by its name in ONNX, whose first input has this dtype. */
export type HasKernel = (opType: string, dtype: DType) => boolean;

/** The graph with ops that lack a kernel written in others; each op says how. What an op cannot say stays as it is. */
export const lower = (graph: Graph, hasKernel: HasKernel): Graph =>
  rewrite(graph, (node, lookup, target) => {
    const { op, inputs, attrs } = node;
    const [first] = inputs;
    return op.lower && first && !hasKernel(op.opType, first.dtype)
      ? op.lower(target, inputs.map(lookup), attrs)
      : copied(node, lookup, target);
  });
