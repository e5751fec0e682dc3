import type { Precision } from "../../core/precision.js";
import type { GraphPrecision } from "../../graph/passes/in-precision.js";

const typings: Readonly<Record<Precision, GraphPrecision | undefined>> = {
  fp32: undefined,
  bf16: { compute: "bfloat16", keep: "everything" },
  fp16: { compute: "float16", keep: "everything" },
  mixed: { compute: "bfloat16", keep: "matmuls" },
};

/** How graphs are typed for a device that computes each node in the type that it has. */
export const typedGraph = (precision: Precision): GraphPrecision | undefined => typings[precision];
