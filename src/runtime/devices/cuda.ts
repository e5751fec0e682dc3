import {
  allocate as allocateArray,
  dtypes,
  elementCount,
  type DType,
  type TypedArray,
} from "../../core/dtype.js";
import { UserError } from "../../core/errors.js";
import type { Precision } from "../../core/precision.js";
import type { HasKernel } from "../../graph/passes/lower.js";
import { bindCudaRuntime, CudaError, type CardFacts, type CudaRuntime } from "../cuda/cudart.js";
import { loadCudaLibraries, type CudaLibraries } from "../cuda/libraries.js";
import { CardMemory, type CopyCounts } from "../cuda/memory.js";
import { openCudaProvider, type CudaRoute } from "../cuda/provider.js";
import type { Device } from "../device.js";
import type { Session } from "../session.js";
import { ort, receive, type Handle } from "../ort/c-api.js";
import { OrtSession } from "../ort/session.js";
import { runtimeVersion } from "../ort/version.js";
import { nativeOf, Tensor, tensorOfDevice } from "../tensor.js";
import { deviceFolder } from "./place.js";
import { typedGraph } from "./typed-graph.js";
import type { OpenDevice } from "./open-device.js";

const half: readonly DType[] = ["float16", "bfloat16"];

/**
 * Dtypes for which the CUDA provider of ONNX Runtime 1.30 has no kernel, or one that takes cuDNN, which is not installed; of the
 * other ops it has what graphs ask for.
 *
 * Source: the provider's own registry, asked with every op's test cases (test/runtime/devices/cuda.test.ts); no number of a card
 * has been seen. The norms' second output is float32 there for 16-bit inputs, where ours has the input's dtype.
 */
const lacking: Readonly<Record<string, readonly DType[]>> = {
  BitShift: ["uint8"],
  LayerNormalization: [...half, "float64"],
  Log: ["bfloat16"],
  LogSoftmax: ["bfloat16"],
  Pad: ["bfloat16"],
  Reciprocal: ["bfloat16"],
  ReduceMax: ["float32", "float64", ...half],
  ReduceMean: ["float32", "float64", ...half],
  Relu: ["bfloat16"],
  RotaryEmbedding: ["float64"],
  SimplifiedLayerNormalization: [...half, "float64"],
  SoftmaxCrossEntropyLoss: ["bfloat16"],
};

/** Whether the CUDA provider has a kernel. */
export const cudaHasKernel: HasKernel = (opType, dtype) =>
  !(lacking[opType]?.includes(dtype) ?? false);

type Environment = Readonly<Record<string, string | undefined>>;

/** HIRA_CUDA_MEMORY in bytes. @throws {UserError} unless it is a whole number of MiB */
const memoryLimit = ({ HIRA_CUDA_MEMORY: text }: Environment): number => {
  if (!text) return Infinity;
  if (!/^[1-9]\d*$/.test(text))
    throw new UserError(
      `Cannot limit the memory on device "cuda": found HIRA_CUDA_MEMORY=${text}, expected a whole number of MiB`,
      "Set it to 20000, say, or leave it out",
    );
  return Number(text) * 2 ** 20;
};

/** HIRA_CUDA_ROUTE. @throws {UserError} on another word */
const chosenRoute = ({ HIRA_CUDA_ROUTE: text }: Environment): CudaRoute | undefined => {
  if (!text) return undefined;
  if (text === "plugin" || text === "append") return text;
  throw new UserError(
    `Cannot choose an interface of ONNX Runtime's CUDA provider: found HIRA_CUDA_ROUTE=${text}, expected plugin or append`,
  );
};

const versionText = (version: number): string =>
  `${String(Math.floor(version / 1000))}.${String(Math.floor((version % 1000) / 10))}`;

/** Sizes, and how many tokens are asked for, the provider reads on the host: they stay there. */
const mayBeSizes = ({ dtype, shape }: Tensor): boolean =>
  (dtype === "int64" || dtype === "int32") && shape.length < 2;

/** cudaErrorNoDevice, cudaErrorInsufficientDriver. */
const [noDevice, insufficientDriver] = [100, 35];

/** The oldest architecture that CUDA 13 has kernels for. */
const oldestCapability = 7.5;

/** @throws {UserError} without that card, or with a driver or an architecture too old for CUDA 13 */
const findCard = (runtime: CudaRuntime, card: number, environment: Environment): CardFacts => {
  const visible = environment.CUDA_VISIBLE_DEVICES;
  const hidden = visible === undefined ? "" : ` (CUDA_VISIBLE_DEVICES=${visible} hides the others)`;
  const refuse = (found: string, hint: string): UserError =>
    new UserError(`Cannot compute on device "cuda:${String(card)}": found ${found}`, hint);
  const versions = runtime.versions();
  let count: number;
  try {
    count = runtime.cardCount();
  } catch (error) {
    if (!(error instanceof CudaError)) throw error;
    if (error.code === insufficientDriver || versions.driver < 13000)
      throw refuse(
        `a driver for CUDA ${versionText(versions.driver)}, expected one for ${versionText(versions.runtime)} or later`,
        "Update NVIDIA's driver to 580 or later",
      );
    if (error.code !== noDevice)
      throw refuse(error.message, "nvidia-smi says what the driver sees");
    count = 0;
  }
  if (card >= count)
    throw refuse(
      count === 0
        ? `no card of NVIDIA's${hidden}, expected one`
        : `${String(count)} ${count === 1 ? "card" : "cards"}${hidden}, expected number ${String(card)}, counted from 0`,
      count === 0
        ? "nvidia-smi says what the driver sees; in a container: start it with its cards (docker run --gpus all)"
        : `Choose --device=cuda:${count === 1 ? "0" : `0 to cuda:${String(count - 1)}`}`,
    );
  runtime.useCard(card);
  const facts = runtime.facts(card);
  const [major, minor] = facts.capability;
  if (major + minor / 10 < oldestCapability)
    throw refuse(
      `${facts.name} of compute capability ${String(major)}.${String(minor)}, expected 7.5 or later`,
      "CUDA 13 has no kernels for it; --device=webgpu may serve it",
    );
  return facts;
};

/** Bfloat16 arithmetic came with compute capability 8.0. */
const precisionsOf = ({ capability: [major] }: CardFacts): readonly Precision[] =>
  major >= 8 ? ["fp32", "bf16", "fp16", "mixed"] : ["fp32", "fp16"];

let libraries: CudaLibraries | undefined;
let runtime: CudaRuntime | undefined;
/** One stream a card, for all devices of a process: what its sessions do comes in one order. */
const memories = new Map<number, CardMemory>();

/** A card, with what its memory has seen. */
export interface CudaDevice extends Device {
  readonly card: CardFacts;
  readonly route: CudaRoute;
  /** Bytes of tensors on the card, now and at most; a session's activations come on top, see `usedBytes`. */
  readonly tensorBytes: () => { readonly now: number; readonly peak: number };
  /** Bytes of the card that are in use, by whomever. */
  readonly usedBytes: () => number;
  /** What was copied between host and card through this device, not inside runs. */
  readonly copies: () => CopyCounts;
}

/**
 * A card of NVIDIA's, through ONNX Runtime's CUDA provider. **Never run on a card so far**: checked against a stand-in of CUDA's
 * libraries that computes nothing.
 *
 * CUDA_VISIBLE_DEVICES is CUDA's own; HIRA_CUDA_MEMORY limits the memory, in MiB, of tensors and of every session's activations;
 * HIRA_CUDA_TF32=1 lets products of float32 matrices round their factors to 10 bits; HIRA_CUDA_ROUTE chooses the interface.
 *
 * @throws {UserError} naming what is missing: provider, libraries, driver, card, or memory
 */
export const openCuda = async (
  { folder, card }: Parameters<OpenDevice>[0],
  environment: Environment = process.env,
): Promise<CudaDevice> => {
  const [limit, wanted] = [memoryLimit(environment), chosenRoute(environment)];
  const tf32 = environment.HIRA_CUDA_TF32 === "1";
  libraries ??= loadCudaLibraries(deviceFolder("cuda", folder, environment), environment);
  const cuda = (runtime ??= bindCudaRuntime(libraries.cudart));
  const facts = findCard(cuda, card, environment);
  const memory = memories.get(card) ?? new CardMemory(cuda, card);
  memories.set(card, memory);
  memory.limit = limit;
  const provider = openCudaProvider(
    libraries,
    {
      device_id: String(card),
      use_tf32: tf32 ? "1" : "0",
      arena_extend_strategy: "kSameAsRequested",
      has_user_compute_stream: "1",
      user_compute_stream: String(memory.stream),
      ...(limit === Infinity ? {} : { gpu_mem_limit: String(limit) }),
    },
    { wanted, isFirst: card === 0 && environment.CUDA_VISIBLE_DEVICES === undefined },
  );
  const info = receive<Handle<"MemoryInfo">>((out) =>
    ort().createMemoryInfo("Cuda", 0, card, 0, out),
  );
  const place = `cuda:${card}` as const;

  const allocate = (dtype: DType, shape: readonly number[]): Tensor => {
    const bytes = elementCount(shape) * dtypes[dtype].bytes;
    const address = memory.allocate(bytes);
    return tensorOfDevice(
      { place, info, address, canSlice: true, free: () => memory.release(address, bytes) },
      dtype,
      shape,
    );
  };
  const addressIn = (tensor: Tensor): bigint => {
    const native = nativeOf(tensor);
    if (!native) throw new RangeError(`Cannot use a tensor on ${place}: found it disposed`);
    return native.address;
  };
  const write = (tensor: Tensor, data: TypedArray): void => memory.write(addressIn(tensor), data);
  const upload = (tensor: Tensor): Tensor => {
    if (tensor.place === place) return tensor;
    const copy = allocate(tensor.dtype, tensor.shape);
    write(copy, tensor.data);
    return copy;
  };
  /** Frozen weights go to the card once, for as long as anyone holds them on the host. */
  const uploaded = new WeakMap<Tensor, Tensor>();
  const uploadOnce = (tensor: Tensor): Tensor => {
    const known = uploaded.get(tensor);
    if (known) return known;
    const copy = upload(tensor);
    uploaded.set(tensor, copy);
    return copy;
  };

  /** Inputs of the host's go up through pinned memory, in the stream's order, which the runtime's own copies of them do not. */
  const staged = (session: Session): Session => ({
    inputNames: session.inputNames,
    outputNames: session.outputNames,
    async run(inputs, outputs, options) {
      const copies: Tensor[] = [];
      const near = Object.entries(inputs).map(([name, tensor]) => {
        if (tensor.place !== "host" || mayBeSizes(tensor)) return [name, tensor] as const;
        const copy = upload(tensor);
        copies.push(copy);
        return [name, copy] as const;
      });
      try {
        return await session.run(Object.fromEntries(near), outputs, options);
      } finally {
        // Whatever takes their memory next is queued behind the run.
        for (const copy of copies) copy.dispose();
      }
    },
    dispose() {
      session.dispose();
    },
  });

  return {
    name: "cuda",
    description: `${facts.name} (cuda:${String(card)}, compute capability ${facts.capability.join(".")}, CUDA ${versionText(cuda.versions().runtime)}, driver for ${versionText(cuda.versions().driver)}, TF32 ${tf32 ? "on" : "off"}), ONNX Runtime ${runtimeVersion()}`,
    place,
    canSlice: true,
    precisions: precisionsOf(facts),
    graphPrecision: typedGraph,
    hasKernel: cudaHasKernel,
    async createSession({ initializers = {}, ...options }) {
      const near = Object.entries(initializers).map(
        ([name, tensor]) => [name, uploadOnce(tensor)] as const,
      );
      const whole = { ...options, initializers: Object.fromEntries(near) };
      return staged(await OrtSession.create(whole, provider));
    },
    zeros(dtype, shape) {
      const tensor = allocate(dtype, shape);
      memory.clear(addressIn(tensor), tensor.byteLength);
      return tensor;
    },
    upload,
    read(tensor) {
      if (tensor.place === "host") return tensor.data;
      const copy = allocateArray(tensor.dtype, elementCount(tensor.shape));
      memory.read(copy, addressIn(tensor));
      return copy;
    },
    write(tensor, data) {
      // Checked as an array of that dtype and shape.
      const source = Tensor.fromArray(tensor.dtype, tensor.shape, data);
      if (tensor.place === "host") tensor.copyFrom(source);
      else write(tensor, data);
    },
    dispose() {
      memory.synchronize();
      memory.trim();
    },
    card: facts,
    route: provider.route,
    tensorBytes: () => memory.bytes,
    usedBytes() {
      const { totalBytes, freeBytes } = cuda.facts(card);
      return totalBytes - freeBytes;
    },
    copies: () => memory.counts,
  };
};
