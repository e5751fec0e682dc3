import type { DType } from "../../src/core/dtype.js";
import type { Graph } from "../../src/graph/graph.js";
import { cast } from "../../src/graph/ops/cast.js";
import type { GraphPrecision } from "../../src/graph/passes/in-precision.js";
import { copied, rewrite } from "../../src/graph/passes/rewrite.js";
import type { Device } from "../../src/runtime/device.js";
import { cpuDevice, cpuHasKernel } from "../../src/runtime/devices/cpu.js";

const isHalf = (dtype: DType): boolean => dtype === "bfloat16" || dtype === "float16";

/** Every op of 16-bit floats as the float32 op between casts: each result is rounded once, as a 16-bit kernel with float32 sums rounds it. */
const emulateHalf = (graph: Graph): Graph =>
  rewrite(graph, (node, lookup, target) => {
    if (node.op === cast || ![...node.inputs, ...node.outputs].some(({ dtype }) => isHalf(dtype)))
      return copied(node, lookup, target);
    const widened = node.inputs.map((input) =>
      isHalf(input.dtype) ? target.cast(lookup(input), "float32") : lookup(input),
    );
    const made = target.copyNode(node, widened);
    return node.outputs.map(({ dtype }, i) => {
      const value = made[i] ?? target.scalar(0, dtype);
      return isHalf(dtype) ? target.cast(value, dtype) : value;
    });
  });

/** The CPU as a device that computes typed graphs, in every precision in the given form. */
export const halfDevice = (form: GraphPrecision): Device => ({
  ...cpuDevice,
  name: "openvino",
  description: "the CPU with 16-bit kernels",
  precisions: ["fp32", "bf16", "fp16", "mixed"],
  graphPrecision: (precision) => (precision === "fp32" ? undefined : form),
  hasKernel: (op, dtype) => cpuHasKernel(op, isHalf(dtype) ? "float32" : dtype),
  rewrite: emulateHalf,
});
