import type { DType } from "../../core/dtype.js";
import type { Graph } from "../../graph/graph.js";
import type { HasKernel } from "../../graph/passes/lower.js";
import { prune } from "../../graph/passes/prune.js";
import { copied, rewrite } from "../../graph/passes/rewrite.js";
import { sizesAsInputs } from "../../graph/passes/sizes-as-inputs.js";
import type { Device } from "../device.js";
import { runtimeVersion } from "../ort/version.js";
import type { SessionOptions, Session } from "../session.js";
import { SizedSession } from "../sized-session.js";
import { Tensor } from "../tensor.js";
import { WebgpuContext } from "../webgpu/context.js";
import { useVulkanOf } from "../webgpu/vulkan.js";
import type { OpenDevice } from "./open-device.js";

/**
 * Dtypes for which ONNX Runtime 1.30's WebGPU provider has no kernel, or a wrong one; of the other ops it has what graphs ask for.
 *
 * SimplifiedLayerNormalization gives a mean where 1/rms is asked for: its second output is taken for LayerNormalization's
 * (test/runtime/webgpu.test.ts). Source: every op's test cases, run with no other provider allowed.
 */
const lacking: Readonly<Record<string, readonly DType[]>> = {
  FusedMatMul: ["float32"],
  LogSoftmax: ["float32"],
  SimplifiedLayerNormalization: ["float32"],
  Slice: ["int32"],
  SoftmaxCrossEntropyLoss: ["float32"],
};

/** Whether the WebGPU provider has a kernel, and a right one. */
export const webgpuHasKernel: HasKernel = (opType, dtype) =>
  !(lacking[opType]?.includes(dtype) ?? false);

/** Split has no int64 kernel, and what is split are token ids: they go through int32. */
const splitInInt32 = (graph: Graph): Graph =>
  rewrite(graph, (node, lookup, target) => {
    const [x, ...others] = node.inputs;
    if (node.op.opType !== "Split" || x?.dtype !== "int64") return copied(node, lookup, target);
    const narrow = target.cast(lookup(x), "int32");
    return target
      .copyNode(node, [narrow, ...others.map(lookup)])
      .map((piece) => target.cast(piece, "int64"));
  });

/** One for all devices of a process; a failure counts until the next try. */
let context: Promise<WebgpuContext> | undefined;

const openContext = async (folder: string | undefined): Promise<WebgpuContext> => {
  if (context === undefined && folder !== undefined && process.platform === "linux")
    useVulkanOf(folder);
  context ??= WebgpuContext.open();
  try {
    return await context;
  } catch (error) {
    context = undefined;
    throw error;
  }
};

/**
 * Any GPU with a driver for Vulkan, Direct3D 12 or Metal, through the WebGPU provider that the onnxruntime-node package brings.
 *
 * It computes in float32. HIRA_DEVICE_DIR or --device_dir names a folder with a Vulkan driver to take instead of the system's.
 *
 * @throws {UserError} where there is no such GPU
 */
export const openWebgpu: OpenDevice = async ({ folder = process.env.HIRA_DEVICE_DIR }) => {
  const gpu = await openContext(folder === "" ? undefined : folder);
  const upload = (tensor: Tensor): Tensor => {
    if (tensor.place === "webgpu") return tensor;
    const copy = gpu.allocate(tensor.dtype, tensor.shape);
    gpu.copy(tensor, copy);
    return copy;
  };
  /** Frozen weights go there once, for as long as anyone holds them on the host. */
  const uploaded = new WeakMap<Tensor, Tensor>();
  const uploadOnce = (tensor: Tensor): Tensor => {
    const known = uploaded.get(tensor);
    if (known) return known;
    const copy = upload(tensor);
    uploaded.set(tensor, copy);
    return copy;
  };
  const createSession = async ({
    initializers = {},
    ...options
  }: SessionOptions): Promise<Session> => {
    const names = Object.entries(initializers);
    const there = Object.fromEntries(names.map(([name, tensor]) => [name, uploadOnce(tensor)]));
    const session = await gpu.createSession({ ...options, initializers: there });
    const sized = new SizedSession(session, session.inputShapes);
    return {
      inputNames: sized.inputNames,
      outputNames: sized.outputNames,
      run: (inputs, outputs, settings) => gpu.exclusive(() => sized.run(inputs, outputs, settings)),
      dispose: () => gpu.whenIdle(() => sized.dispose()),
    };
  };
  return {
    name: "webgpu",
    description: `WebGPU, ONNX Runtime ${runtimeVersion()}`,
    place: "webgpu",
    canSlice: false,
    precisions: ["fp32"],
    // It reads no bfloat16, no int8, and float16 on some GPUs alone.
    decodesWeights: true,
    hasKernel: webgpuHasKernel,
    rewrite: (graph: Graph) => prune(splitInInt32(sizesAsInputs(graph))),
    createSession,
    zeros: (dtype: DType, shape) => upload(Tensor.zeros(dtype, shape)),
    upload,
    read(tensor) {
      if (tensor.place === "host") return tensor.data;
      const copy = Tensor.zeros(tensor.dtype, tensor.shape);
      gpu.copy(tensor, copy);
      return copy.data;
    },
    write(tensor, data) {
      // Checked as an array of that dtype and shape.
      const source = Tensor.fromArray(tensor.dtype, tensor.shape, data);
      if (tensor.place === "host") tensor.copyFrom(source);
      else gpu.copy(source, tensor);
    },
    dispose: () => undefined,
  } satisfies Device;
};
