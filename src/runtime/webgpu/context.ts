import { dtypes, elementCount, type DType } from "../../core/dtype.js";
import { UserError } from "../../core/errors.js";
import { Graph } from "../../graph/graph.js";
import { encodeOnnx } from "../../graph/onnx/encode.js";
import { environment, listOfTexts, ort, receive, type Handle } from "../ort/c-api.js";
import { OrtError } from "../ort/ort-error.js";
import type { OrtProvider } from "../ort/session-options.js";
import { OrtSession } from "../ort/session.js";
import { nativeOf, tensorOfDevice, type Tensor } from "../tensor.js";

/** int64 kernels are off unless asked for: indices and labels would be computed on by the CPU. */
const providerOptions = { enableInt64: "1" };

/** What a failure of the runtime means; others are given back as they are. */
const explain = (error: unknown): unknown => {
  if (!(error instanceof OrtError)) return error;
  if (error.message.includes("fallback to CPU EP"))
    return new UserError(
      'Cannot compute on device "webgpu": found operators in this graph that its provider has no kernel for',
      "Take --device=cpu, and please report what you ran",
    );
  if (/device lost|out of memory|MapAsyncStatus/i.test(error.message))
    return new UserError(
      `Cannot compute on device "webgpu": ${error.message}`,
      "The GPU has too little memory, allows no buffer that large, or its driver gave up: take a smaller --batch or --enable_grad_ckpt, or --device=cpu",
    );
  return error;
};

const append: OrtProvider["append"] = (options) => {
  const keys = listOfTexts(Object.keys(providerOptions));
  const values = listOfTexts(Object.values(providerOptions));
  // The provider logs while it is added, which takes an environment.
  environment();
  ort().appendProviderByName(
    options,
    "WebGPU",
    keys.addresses,
    values.addresses,
    keys.addresses.length,
  );
  void [keys.kept, values.kept];
  // A node that the CPU computed instead would read a frozen weight's buffer as host memory.

  ort().addSessionConfigEntry(options, "session.disable_cpu_ep_fallback", "1");
};

/** ONNX Runtime's WebGPU provider. What is copied back waits for the runs that write it. */
const provider: OrtProvider = { append, ordered: false, explain };

const noAdapter = (message: string): UserError =>
  new UserError(
    `Cannot compute on device "webgpu": ${/Failed to get a WebGPU adapter[^(]*/.exec(message)?.[0].trim() ?? message}`,
    process.platform === "linux"
      ? "It takes a GPU with a Vulkan 1.1 driver and the loader libvulkan.so.1 (Debian: apt-get install libvulkan1 and the GPU's driver; vulkaninfo --summary says what there is), or --device_dir=FOLDER with a driver"
      : "It takes a GPU with a current driver: Direct3D 12 on Windows, Metal on macOS",
  );

/** A session of one node, over which memory is allocated, and which keeps the device open. */
const openKeeper = async (): Promise<OrtSession> => {
  const g = new Graph();
  g.output("y", g.neg(g.input("x", "float32", [1])));
  try {
    return await OrtSession.create({ model: encodeOnnx(g), threads: 1 }, provider);
  } catch (error) {
    throw error instanceof OrtError ? noAdapter(error.message) : error;
  }
};

/**
 * The GPU as ONNX Runtime has it: one a process, which stays open.
 *
 * Its queue and its pool of buffers are shared by all sessions and know no locks, so that one thing happens at a time: what takes
 * another thread comes in a row (`exclusive`), and memory that is given back meanwhile goes afterwards.
 */
export class WebgpuContext {
  readonly #info: Handle<"MemoryInfo">;
  readonly #allocator: Handle<"Allocator">;
  /** Never released: the device would go with it. */
  readonly #keeper: OrtSession;
  #last: Promise<unknown> = Promise.resolve();
  #busy = 0;
  #afterwards: (() => void)[] = [];

  private constructor(keeper: OrtSession) {
    this.#keeper = keeper;
    this.#info = receive<Handle<"MemoryInfo">>((out) =>
      ort().createMemoryInfo("WebGPU_Buffer", 0, 0, 0, out),
    );
    this.#allocator = receive<Handle<"Allocator">>((out) =>
      ort().createAllocator(this.#keeper.nativeHandle, this.#info, out),
    );
  }

  /** @throws {UserError} where there is no GPU that it can use */
  static async open(): Promise<WebgpuContext> {
    return new WebgpuContext(await openKeeper());
  }

  /** A session on the GPU, which `exclusive` has to run and `whenIdle` to dispose of. @throws what OrtSession.create throws */
  createSession(options: Parameters<typeof OrtSession.create>[0]): Promise<OrtSession> {
    return this.exclusive(() => OrtSession.create(options, provider));
  }

  /** Does `work` when all that was given before has ended. */
  exclusive<T>(work: () => Promise<T>): Promise<T> {
    this.#busy++;
    const whole = this.#last.then(work).finally(() => {
      this.#busy--;
      if (this.#busy === 0) for (const each of this.#afterwards.splice(0)) each();
    });
    this.#last = whole.catch(() => undefined);
    return whole;
  }

  /** Does `work` at once, or where something is being done or waits for it, after all that. */
  whenIdle(work: () => void): void {
    if (this.#busy > 0) this.#afterwards.push(work);
    else work();
  }

  /** Memory with any content. @throws {UserError} where the GPU has no room */
  allocate(dtype: DType, shape: readonly number[]): Tensor {
    this.#requireIdle();
    const bytes = elementCount(shape) * dtypes[dtype].bytes;
    // A buffer has a length of at least one element.
    const length = BigInt64Array.of(BigInt(Math.max(bytes, 16)));
    try {
      const value = receive<Handle<"Value">>((out) =>
        ort().createTensor(this.#allocator, length, 1, dtypes.uint8.onnx, out),
      );
      const address = receive((out) => ort().getTensorMutableData(value, out));
      const free = (): void => this.whenIdle(() => ort().release.value(value));
      const memory = { place: "webgpu", info: this.#info, address, canSlice: false, free } as const;
      return tensorOfDevice(memory, dtype, shape);
    } catch (error) {
      throw explain(error);
    }
  }

  /**
   * Copies between host and GPU, either way; what comes back was written by all runs before.
   *
   * @throws {RangeError} while a run or the making of a session is not over, or if a tensor is disposed
   */
  copy(from: Tensor, to: Tensor): void {
    this.#requireIdle();
    if (from.byteLength === 0) return;
    const valueOf = (tensor: Tensor): Handle<"Value"> => {
      const native = nativeOf(tensor);
      if (!native) throw new RangeError("Cannot copy a tensor on webgpu: found it disposed");
      return native.value;
    };
    const [source, target] = [BigUint64Array.of(valueOf(from)), BigUint64Array.of(valueOf(to))];
    try {
      ort().copyTensors(environment(), source, target, 0n, 1);
    } catch (error) {
      throw explain(error);
    }
  }

  #requireIdle(): void {
    if (this.#busy > 0)
      throw new RangeError(
        "Cannot reach the memory of webgpu: found a run or a new session that is not over, expected it awaited",
      );
  }
}
