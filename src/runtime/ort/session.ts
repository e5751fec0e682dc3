import {
  defaultAllocator,
  environment,
  hostMemory,
  ort,
  readAddresses,
  receive,
  receiveInt,
  receiveSize,
  type Handle,
} from "./c-api.js";
import { dtypeOfOnnx, readExternalInitializers } from "./external-initializers.js";
import {
  compare,
  findNative,
  findUnknown,
  readPort,
  throwFaults,
  type Fault,
  type Port,
} from "./port.js";
import {
  configure,
  explainPlaceholder,
  matchInitializers,
  withPlaceholder,
  type OrtProvider,
} from "./session-options.js";
import { joinSharedArena } from "./shared-arena.js";
import type { RunOptions, Session, SessionOptions } from "../session.js";
import { Tensor, tensorOfValue, type NativeTensor } from "../tensor.js";

/** What one run at a time uses: kept between runs, with what is bound in it. */
interface Slot {
  readonly binding: Handle<"IoBinding">;
  readonly runOptions: Handle<"RunOptions">;
  /** The id of the tensor that is bound to each input and output; 0 where the runtime makes the output. */
  readonly boundInputs: number[];
  readonly boundOutputs: number[];
}

/** Of a run's configuration: whether it ends before the device has computed its outputs. */
const leaveUnfinished = "disable_synchronize_execution_providers";

const releaseSlot = ({ binding, runOptions }: Slot): void => {
  ort().release.binding(binding);
  ort().release.runOptions(runOptions);
};

/** Runs on another thread, and ends the run when the signal says so. */
const runAsync = async (
  session: Handle<"Session">,
  { binding, runOptions }: Slot,
  signal: AbortSignal | undefined,
): Promise<void> => {
  const terminate = (): void => ort().runOptionsSetTerminate(runOptions);
  signal?.addEventListener("abort", terminate, { once: true });
  try {
    await ort().async.runWithBinding(session, runOptions, binding);
  } finally {
    signal?.removeEventListener("abort", terminate);
    signal?.throwIfAborted();
  }
};

/** The values of all outputs, which the caller releases. */
const boundValues = (binding: Handle<"IoBinding">): BigUint64Array => {
  const api = ort();
  const list = new BigUint64Array(1);
  const count = receiveSize((out) =>
    api.getBoundOutputValues(binding, defaultAllocator(), list, out),
  );
  const values = readAddresses(list[0] ?? 0n, count);
  api.allocatorFree(defaultAllocator(), list[0] ?? 0n);
  return values;
};

/**
 * A tensor that owns `value`, or a copy where the value is the memory of an input or initializer passed through.
 *  */
const adoptValue = (
  value: Handle<"Value">,
  ...others: readonly (readonly NativeTensor[])[]
): Tensor => {
  const api = ort();
  const info = receive<Handle<"TensorTypeAndShapeInfo">>((out) =>
    api.getTensorTypeAndShape(value, out),
  );
  const rank = receiveSize((out) => api.getDimensionsCount(info, out));
  const dims = new BigInt64Array(rank);
  if (rank > 0) api.getDimensions(info, dims, rank);
  const dtype = dtypeOfOnnx(receiveInt((out) => api.getTensorElementType(info, out)));
  api.release.shapeInfo(info);
  if (dtype === undefined) throw new Error("an output has another type than the session said");
  const address = receive((out) => api.getTensorMutableData(value, out));
  const tensor = tensorOfValue(value, address, dtype, Array.from(dims, Number));
  const foreign = others.some((natives) => natives.some((native) => native.contains(address)));
  if (!foreign) return tensor;
  const copy = Tensor.zeros(dtype, tensor.shape);
  copy.copyFrom(tensor);
  tensor.dispose();
  return copy;
};

/** The native objects of a session, apart from it so that a finalizer can release them. */
class NativeSession {
  readonly handle: Handle<"Session">;
  readonly initializers: readonly NativeTensor[];
  readonly profiled: boolean;
  /** Called once the session has been released. */
  readonly leave: () => void;
  readonly idle: Slot[] = [];
  running = 0;
  closing = false;

  constructor(
    handle: Handle<"Session">,
    initializers: readonly NativeTensor[],
    { profiled, leave }: { readonly profiled: boolean; readonly leave: () => void },
  ) {
    this.handle = handle;
    this.initializers = initializers;
    this.profiled = profiled;
    this.leave = leave;
  }

  /** Releases everything, or leaves that to the end of the last run. */
  close(): void {
    this.closing = true;
    if (this.running > 0) return;
    const api = ort();
    for (const slot of this.idle.splice(0)) releaseSlot(slot);
    if (this.profiled) {
      const path = receive((out) => api.sessionEndProfiling(this.handle, defaultAllocator(), out));
      api.allocatorFree(defaultAllocator(), path);
    }
    api.release.session(this.handle);
    this.leave();
    // Only now: the session has the addresses of this memory.
    for (const native of this.initializers) native.release();
  }
}

const released = new FinalizationRegistry<NativeSession>((native) => native.close());

/**
 * A session of ONNX Runtime.
 *
 * Checked on linux x64; macOS and Windows are untested. Runs of one session may overlap.
 */
export class OrtSession implements Session {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  readonly #inputs: ReadonlyMap<string, Port>;
  readonly #outputs: ReadonlyMap<string, Port>;
  readonly #native: NativeSession;
  readonly #provider: OrtProvider | undefined;

  private constructor(
    native: NativeSession,
    inputs: readonly Port[],
    outputs: readonly Port[],
    provider: OrtProvider | undefined,
  ) {
    this.#native = native;
    this.#provider = provider;
    this.#inputs = new Map(inputs.map((port) => [port.name, port]));
    this.#outputs = new Map(outputs.map((port) => [port.name, port]));
    this.inputNames = inputs.map(({ name }) => name);
    this.outputNames = outputs.map(({ name }) => name);
    released.register(this, native, this);
  }

  /**
   * Loads and optimizes a model, on another thread.
   *
   * Execution is sequential: operators run one after the other, each on up to `threads` threads.
   *
   * @param provider what computes; default: the CPU provider
   * @throws {RangeError} {TypeError} if the bytes are no model, or `initializers` are not what it leaves open (all at once)
   * @throws {RangeError} if an external initializer's value is needed before the first run: a shape, an axis, one number
   * @throws {OrtError} if the runtime refuses the model
   */
  static async create(options: SessionOptions, provider?: OrtProvider): Promise<OrtSession> {
    const external = readExternalInitializers(options.model);
    const initializers = matchInitializers(external, options.initializers ?? {});
    // Held from here on: whoever gave them may dispose them while the session is made.
    for (const native of initializers.values()) native.retain();
    try {
      return initializers.size === 0
        ? await OrtSession.#load(options, initializers, undefined, provider)
        : await withPlaceholder((folder) =>
            OrtSession.#load(options, initializers, folder, provider),
          );
    } catch (error) {
      for (const native of initializers.values()) native.release();
      throw provider?.explain(error) ?? explainPlaceholder(error);
    }
  }

  static async #load(
    settings: SessionOptions,
    initializers: ReadonlyMap<string, NativeTensor>,
    folder: string | undefined,
    provider: OrtProvider | undefined,
  ): Promise<OrtSession> {
    const api = ort();
    const options = receive<Handle<"SessionOptions">>((out) => api.createSessionOptions(out));
    const out = new BigUint64Array(1);
    let leave = (): void => undefined;
    try {
      configure(options, settings, initializers, folder, provider);
      if (settings.arena === "shared") leave = joinSharedArena(options);
      const { model } = settings;
      await api.async.createSessionFromArray(environment(), model, model.length, options, out);
    } catch (error) {
      leave();
      throw error;
    } finally {
      api.release.sessionOptions(options);
    }
    const handle = (out[0] ?? 0n) as Handle<"Session">;
    try {
      const ports = (direction: "Input" | "Output"): Port[] => {
        const count = receiveSize((out) => api[`sessionGet${direction}Count`](handle, out));
        return Array.from({ length: count }, (_, i) => readPort(handle, i, direction));
      };
      const [inputs, outputs] = [ports("Input"), ports("Output")];
      const held = [...initializers.values()];
      const profiled = settings.profile !== undefined;
      const native = new NativeSession(handle, held, { profiled, leave });
      return new OrtSession(native, inputs, outputs, provider);
    } catch (error) {
      api.release.session(handle);
      leave();
      throw error;
    }
  }

  /**
   * See {@link Session.run}. What was bound in the last run is not bound again: a run with the same tensors costs 1.8 us with
   * `sync` for one input and output, 0.9 us of it the runtime's own, and some 10 us more without (x64, 2 cores, quiet).
   *
   * @throws {RangeError} {TypeError} naming every tensor whose name, dtype or shape is not the model's
   * @throws {OrtError} if the computation fails; the signal's reason if it was ended
   */
  async run(
    inputs: Readonly<Record<string, Tensor>>,
    outputs: Readonly<Record<string, Tensor>> = {},
    { signal, sync = false }: RunOptions = {},
  ): Promise<Record<string, Tensor>> {
    const native = this.#native;
    if (native.closing) throw new RangeError("Cannot run a session: found it disposed");
    signal?.throwIfAborted();
    const natives = this.#natives(inputs, outputs);
    const slot = native.idle.pop() ?? this.#newSlot();
    for (const memory of natives) memory.retain();
    native.running++;
    let reusable = false;
    try {
      this.#bind(slot, outputs, natives);
      if (sync) ort().runWithBinding(native.handle, slot.runOptions, slot.binding);
      else await runAsync(native.handle, slot, signal);
      const result = this.#collect(slot, outputs, natives);
      reusable = true;
      return result;
    } catch (error) {
      throw this.#provider?.explain(error) ?? error;
    } finally {
      for (const memory of natives) memory.release();
      native.running--;
      // Nobody knows what a failed run has left bound, and a terminated one stays terminated.
      if (reusable) native.idle.push(slot);
      else releaseSlot(slot);
      if (native.closing) native.close();
    }
  }

  /** For what is made with a session in ONNX Runtime's API: an allocator of its provider. It is released with the session. */
  get nativeHandle(): Handle<"Session"> {
    return this.#native.handle;
  }

  /** The inputs' shapes by name: a string is a size that is equal wherever it stands, null is any. */
  get inputShapes(): ReadonlyMap<string, Port["shape"]> {
    return new Map([...this.#inputs].map(([name, { shape }]) => [name, shape]));
  }

  dispose(): void {
    if (this.#native.closing) return;
    released.unregister(this);
    this.#native.close();
  }

  /** The memory of all inputs, then of the given outputs, each in the model's order. Throws on names that are not. */
  #natives(
    inputs: Readonly<Record<string, Tensor>>,
    outputs: Readonly<Record<string, Tensor>>,
  ): NativeTensor[] {
    const faults: Fault[] = [];
    const natives: (NativeTensor | undefined)[] = [];
    for (const name of this.inputNames)
      natives.push(findNative("input", name, inputs[name], faults));
    let given = 0;
    for (const name of this.outputNames) {
      if (!Object.hasOwn(outputs, name)) continue;
      natives.push(findNative("output", name, outputs[name], faults));
      given++;
    }
    if (Object.keys(inputs).length > this.inputNames.length)
      findUnknown("input", inputs, this.#inputs, faults);
    if (Object.keys(outputs).length > given) findUnknown("output", outputs, this.#outputs, faults);
    if (faults.length > 0) {
      // A misspelt name counts as a missing one too; say which name it is instead.
      findUnknown("input", inputs, this.#inputs, faults);
      throwFaults("run a session", faults);
    }
    return natives.filter((native) => native !== undefined);
  }

  #newSlot(): Slot {
    const api = ort();
    const slot = {
      binding: receive<Handle<"IoBinding">>((out) => api.createIoBinding(this.#native.handle, out)),
      runOptions: receive<Handle<"RunOptions">>((out) => api.createRunOptions(out)),
      boundInputs: this.inputNames.map(() => 0),
      boundOutputs: this.outputNames.map(() => 0),
    };
    // In the model's order from the start: that is the order in which values come back.
    for (const name of this.outputNames) api.bindOutputToDevice(slot.binding, name, hostMemory());
    return slot;
  }

  /** Binds what differs from the slot's last run, after checking all of it. */
  #bind(
    { binding, runOptions, boundInputs, boundOutputs }: Slot,
    outputs: Readonly<Record<string, Tensor>>,
    natives: readonly NativeTensor[],
  ): void {
    const api = ort();
    const inputCount = this.inputNames.length;
    let next = inputCount;
    const outputNatives = this.outputNames.map((name) =>
      Object.hasOwn(outputs, name) ? natives[next++] : undefined,
    );
    // A provider with memory of its own copies an input of the host's when it is bound: what stands there now counts.
    if (this.#provider)
      for (let i = 0; i < inputCount; i++)
        if (natives[i]?.storage.place === "host") boundInputs[i] = 0;
    if (
      boundInputs.every((id, i) => id === natives[i]?.id) &&
      boundOutputs.every((id, i) => id === (outputNatives[i]?.id ?? 0))
    )
      return;

    const faults: Fault[] = [];
    const symbols = new Map<string, number>();
    const check = (
      role: string,
      port: Port | undefined,
      native: NativeTensor | undefined,
    ): void => {
      if (port && native) compare(role, port, native, symbols, faults);
    };
    this.inputNames.forEach((name, i) => check("input", this.#inputs.get(name), natives[i]));
    this.outputNames.forEach((name, i) =>
      check("output", this.#outputs.get(name), outputNatives[i]),
    );
    throwFaults("run a session", faults);

    this.inputNames.forEach((name, i) => {
      const native = natives[i];
      if (native === undefined || native.id === boundInputs[i]) return;
      api.bindInput(binding, name, native.value);
      boundInputs[i] = native.id;
    });
    this.outputNames.forEach((name, i) => {
      const native = outputNatives[i];
      if ((native?.id ?? 0) === boundOutputs[i]) return;
      if (native === undefined) api.bindOutputToDevice(binding, name, hostMemory());
      else api.bindOutput(binding, name, native.value);
      boundOutputs[i] = native?.id ?? 0;
    });
    if (this.#provider?.ordered === true) {
      const stays = outputNatives.every((native) => (native?.storage.place ?? "host") !== "host");
      api.addRunConfigEntry(runOptions, leaveUnfinished, stays ? "1" : "0");
    }
  }

  #collect(
    { binding, boundOutputs }: Slot,
    outputs: Readonly<Record<string, Tensor>>,
    natives: readonly NativeTensor[],
  ): Record<string, Tensor> {
    if (boundOutputs.every((id) => id !== 0)) return { ...outputs };
    const api = ort();
    const values = boundValues(binding);
    const result: Record<string, Tensor> = {};
    let at = 0;
    try {
      for (const name of this.outputNames) {
        const value = values[at] as Handle<"Value">;
        const given = outputs[name];
        if (given === undefined) {
          result[name] = adoptValue(value, natives, this.#native.initializers);
          at++;
          // The binding drops its reference, so that the tensor alone decides how long the memory stays.
          api.bindOutputToDevice(binding, name, hostMemory());
        } else {
          api.release.value(value);
          at++;
          result[name] = given;
        }
      }
    } catch (error) {
      for (const value of values.subarray(at)) api.release.value(value as Handle<"Value">);
      throw error;
    }
    return result;
  }
}
