import type { DType } from "../../core/dtype.js";
import type { Graph } from "../graph.js";
import type { Node } from "../op.js";
import { copied, rewrite } from "./rewrite.js";

/** Whether there is a kernel for an op, by its name in ONNX, whose first input has this dtype. */
export type HasKernel = (opType: string, dtype: DType) => boolean;

/** An op may be lowered to ops that are lowered in turn: a loss to log-softmax, that to a maximum, that to TopK. */
const MOST_STEPS = 4;

/** The graph with ops that lack a kernel written in others; each op says how. What an op cannot say stays as it is. */
export const lower = (graph: Graph, hasKernel: HasKernel): Graph => {
  const lacks = ({ op, inputs: [first] }: Node): boolean =>
    op.lower !== undefined && first !== undefined && !hasKernel(op.opType, first.dtype);
  let lowered = graph;
  let steps = 0;
  do
    lowered = rewrite(lowered, (node, lookup, target) =>
      lacks(node)
        ? node.op.lower?.(target, node.inputs.map(lookup), node.attrs)
        : copied(node, lookup, target),
    );
  while (++steps < MOST_STEPS && lowered.nodes.some(lacks));
  return lowered;
};
