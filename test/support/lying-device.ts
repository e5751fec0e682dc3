import type { Node } from "../../src/graph/op.js";
import { copied, rewrite } from "../../src/graph/passes/rewrite.js";
import type { Device } from "../../src/runtime/device.js";
import { cpuDevice } from "../../src/runtime/devices/cpu.js";

/** The CPU under another name, on which the results of some nodes are wrong by a factor. */
export const lyingDevice = (isWrong: (node: Node) => boolean, factor = 1.5): Device => ({
  ...cpuDevice,
  name: "openvino",
  description: "a lying device",
  precisions: ["fp32", "bf16"],
  graphPrecision: () => undefined,
  rewrite: (graph) =>
    rewrite(graph, (node, lookup, target) => {
      const made = copied(node, lookup, target);
      return isWrong(node)
        ? made.map((value) => target.mul(value, target.scalar(factor, value.dtype)))
        : made;
    }),
});

/** The same with nothing wrong. */
export const honestDevice = lyingDevice(() => false);
