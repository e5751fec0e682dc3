import type { DType } from "../../core/dtype.js";
import type { HasKernel } from "../../graph/passes/lower.js";
import type { Device } from "../device.js";
import { runtimeVersion } from "../ort/version.js";
import { OrtSession } from "../ort/session.js";
import { hostMemoryOf } from "./host-memory.js";
import { typedGraph } from "./typed-graph.js";

/**
 * Ops that ONNX Runtime's CPU provider computes in these dtypes alone; of the others it has what graphs ask for. Most arithmetic in
 * float16 it does in float32 between casts of its own, and rounds the results; in bfloat16 it has none.
 * Source: docs/OperatorKernels.md of ONNX Runtime 1.30, each tried by the op's tests.
 */
const kernels: Readonly<Record<string, readonly DType[]>> = {
  Erf: ["float32"],
  FusedMatMul: ["float32", "float16"],
  LayerNormalization: ["float32"],
  QuickGelu: ["float32"],
  RotaryEmbedding: ["float32"],
  SimplifiedLayerNormalization: ["float32"],
  SoftmaxCrossEntropyLoss: [],
};

/** Whether the CPU provider has a kernel. */
export const cpuHasKernel: HasKernel = (opType, dtype) => kernels[opType]?.includes(dtype) ?? true;

/** The CPU, through the ONNX Runtime that the onnxruntime-node package brings. */
export const cpuDevice: Device = {
  ...hostMemoryOf,
  name: "cpu",
  get description() {
    return `CPU, ONNX Runtime ${runtimeVersion()}`;
  },
  precisions: ["fp32", "fp16"],
  graphPrecision: typedGraph,
  hasKernel: cpuHasKernel,
  cutsByLayer: true,
  createSession: (options) => OrtSession.create(options),
  dispose: () => undefined,
};
