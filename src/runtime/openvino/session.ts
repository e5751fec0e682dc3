import { availableParallelism } from "node:os";
import { dtypes } from "../../core/dtype.js";
import type { Precision } from "../../core/precision.js";
import { receive, viewMemory, type Handle } from "../ort/c-api.js";
import { readExternalInitializers } from "../ort/external-initializers.js";
import {
  compare,
  findNative,
  findUnknown,
  throwFaults,
  type Fault,
  type Port,
} from "../ort/port.js";
import { matchInitializers } from "../ort/session-options.js";
import type { RunOptions, Session, SessionOptions } from "../session.js";
import { nativeOf, Tensor, type NativeTensor } from "../tensor.js";
import { elementTypeOf, propertyArgument, shapeArgument, type OpenVinoApi } from "./c-api.js";
import { trimHeap } from "./trim-heap.js";
import { pointInitializers, readPorts } from "./model-bytes.js";

/** What float32 nodes are computed in. Graphs have bfloat16 where it is meant, so that the rest stays as it is. */
const precisionHints: Readonly<Record<Precision, string>> = {
  fp32: "f32",
  bf16: "f32",
  fp16: "f16",
  mixed: "f32",
};

/** The properties of a compiled model. Source: OpenVINO's documentation of the CPU device. */
const propertiesOf = ({ precision = "fp32", threads }: SessionOptions): Record<string, string> => {
  const count = threads ?? availableParallelism();
  if (!Number.isSafeInteger(count) || count < 1)
    throw new RangeError(`Cannot create a session: found threads ${count}, expected 1 or more`);
  return {
    INFERENCE_PRECISION_HINT: precisionHints[precision],
    INFERENCE_NUM_THREADS: String(count),
    NUM_STREAMS: "1",
    // Two processes that pin their threads share the first cores, while the others are idle.
    ENABLE_CPU_PINNING: "NO",
  };
};

/** An input or output of a compiled model. */
interface NativePort extends Port {
  readonly handle: Handle<"OvPort">;
}

/** What one run at a time uses: kept between runs, with what is set in it. */
interface Slot {
  readonly request: Handle<"OvInferRequest">;
  /** The id of the tensor that is set for each input and output; 0 where the request has its own. */
  readonly boundInputs: number[];
  readonly boundOutputs: number[];
}

/** The native objects of a session, apart from it so that a finalizer can release them. */
class NativeSession {
  readonly api: OpenVinoApi;
  readonly compiled: Handle<"OvCompiledModel">;
  readonly inputs: readonly NativePort[];
  readonly outputs: readonly NativePort[];
  readonly initializers: readonly NativeTensor[];
  readonly idle: Slot[] = [];
  running = 0;
  closing = false;

  constructor(
    api: OpenVinoApi,
    compiled: Handle<"OvCompiledModel">,
    ports: { readonly inputs: readonly NativePort[]; readonly outputs: readonly NativePort[] },
    initializers: readonly NativeTensor[],
  ) {
    this.api = api;
    this.compiled = compiled;
    this.inputs = ports.inputs;
    this.outputs = ports.outputs;
    this.initializers = initializers;
  }

  /** Releases everything, or leaves that to the end of the last run. */
  close(): void {
    this.closing = true;
    if (this.running > 0) return;
    const { release } = this.api;
    for (const { request } of this.idle.splice(0)) release.request(request);
    for (const { handle } of [...this.inputs, ...this.outputs]) release.port(handle);
    release.compiled(this.compiled);
    // Only now: the compiled model has the addresses of this memory.
    for (const native of this.initializers) native.release();
  }
}

const released = new FinalizationRegistry<NativeSession>((native) => native.close());

/** OpenVINO's tensor over `use`'s memory, for as long as `use` runs; what it is set in keeps it longer. */
const withOvTensor = (
  api: OpenVinoApi,
  native: NativeTensor,
  use: (tensor: Handle<"OvTensor">) => void,
): void => {
  const { shape, kept } = shapeArgument(native.shape);
  const tensor = receive<Handle<"OvTensor">>((out) =>
    api.ov_tensor_create_from_host_ptr(elementTypeOf(native.dtype), shape, native.address, out),
  );
  void kept;
  try {
    use(tensor);
  } finally {
    api.release.tensor(tensor);
  }
};

/** The shape of a port where every named dimension is known from the inputs; undefined where one is not. */
const knownShape = (
  { shape }: Port,
  symbols: ReadonlyMap<string, number>,
): readonly number[] | undefined => {
  const sizes = shape.map((d) =>
    typeof d === "number" ? d : d === null ? undefined : symbols.get(d),
  );
  return sizes.every((size) => size !== undefined) ? sizes : undefined;
};

/** A model that OpenVINO has compiled for the CPU. Runs of one session may overlap; they take turns. */
export class OpenVinoSession implements Session {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  readonly #inputs: ReadonlyMap<string, Port>;
  readonly #outputs: ReadonlyMap<string, Port>;
  readonly #native: NativeSession;

  private constructor(native: NativeSession) {
    const { inputs, outputs } = native;
    this.#native = native;
    this.#inputs = new Map(inputs.map((port) => [port.name, port]));
    this.#outputs = new Map(outputs.map((port) => [port.name, port]));
    this.inputNames = inputs.map(({ name }) => name);
    this.outputNames = outputs.map(({ name }) => name);
    released.register(this, native, this);
  }

  /**
   * Reads and compiles a model, on another thread. The initializers' memory is read in place.
   *
   * @throws {RangeError} {TypeError} if the bytes are no model, or `initializers` are not what it leaves open (all at once)
   * @throws {OpenVinoError} if OpenVINO refuses the model
   */
  static async create(
    api: OpenVinoApi,
    core: Handle<"OvCore">,
    options: SessionOptions,
  ): Promise<OpenVinoSession> {
    const external = readExternalInitializers(options.model);
    const initializers = matchInitializers(external, options.initializers ?? {});
    const ports = readPorts(options.model);
    // Held from here on: whoever gave them may dispose them while the session is made.
    for (const native of initializers.values()) native.retain();
    const handles: { model?: Handle<"OvModel">; compiled?: Handle<"OvCompiledModel"> } = {};
    try {
      const properties = propertyArgument(propertiesOf(options));
      const model = pointInitializers(options.model, (name) => initializers.get(name));
      const out = new BigUint64Array(1);
      await api.async.ov_core_read_model_from_memory_buffer(core, model, model.length, null, out);
      handles.model = (out[0] ?? 0n) as Handle<"OvModel">;
      const { size, array } = properties;
      await api.async.ov_core_compile_model_props(core, handles.model, "CPU", size, array, out);
      void properties.kept;
      const compiled = (handles.compiled = (out[0] ?? 0n) as Handle<"OvCompiledModel">);
      const native = new NativeSession(
        api,
        compiled,
        {
          inputs: ports.inputs.map((port) => ({
            ...port,
            handle: receive<Handle<"OvPort">>((at) =>
              api.ov_compiled_model_input_by_name(compiled, port.name, at),
            ),
          })),
          outputs: ports.outputs.map((port, i) => ({
            ...port,
            handle: receive<Handle<"OvPort">>((at) =>
              api.ov_compiled_model_output_by_index(compiled, i, at),
            ),
          })),
        },
        [...initializers.values()],
      );
      delete handles.compiled;
      return new OpenVinoSession(native);
    } catch (error) {
      if (handles.compiled !== undefined) api.release.compiled(handles.compiled);
      for (const native of initializers.values()) native.release();
      throw error;
    } finally {
      if (handles.model !== undefined) api.release.model(handles.model);
    }
  }

  /** See {@link Session.run}. What was set in the last run is not set again. */
  async run(
    inputs: Readonly<Record<string, Tensor>>,
    outputs: Readonly<Record<string, Tensor>> = {},
    { signal, sync = false }: RunOptions = {},
  ): Promise<Record<string, Tensor>> {
    const native = this.#native;
    const { api } = native;
    if (native.closing) throw new RangeError("Cannot run a session: found it disposed");
    signal?.throwIfAborted();
    const natives = this.#natives(inputs, outputs);
    const fresh = this.#freshOutputs(natives, outputs);
    const result = { ...outputs, ...fresh };
    const outputNatives = this.outputNames.map((name) => {
      const tensor = result[name];
      return tensor && nativeOf(tensor);
    });
    const slot = native.idle.pop() ?? this.#newSlot();
    const held = [...natives, ...outputNatives.filter((memory) => memory !== undefined)];
    for (const memory of held) memory.retain();
    native.running++;
    let reusable = false;
    try {
      this.#bind(slot, natives, outputNatives);
      if (sync) api.ov_infer_request_infer(slot.request);
      else await this.#runAsync(slot, signal);
      for (const port of native.outputs)
        result[port.name] = this.#collect(slot, port, outputs[port.name], result[port.name]);
      reusable = true;
      return result;
    } finally {
      for (const memory of held) memory.release();
      trimHeap();
      native.running--;
      if (reusable) native.idle.push(slot);
      else api.release.request(slot.request);
      if (native.closing) native.close();
    }
  }

  dispose(): void {
    if (this.#native.closing) return;
    released.unregister(this);
    this.#native.close();
  }

  async #runAsync({ request }: Slot, signal: AbortSignal | undefined): Promise<void> {
    const { api } = this.#native;
    const cancel = (): void => api.ov_infer_request_cancel(request);
    signal?.addEventListener("abort", cancel, { once: true });
    try {
      await api.async.ov_infer_request_infer(request);
    } finally {
      signal?.removeEventListener("abort", cancel);
      signal?.throwIfAborted();
    }
  }

  /** The memory of all inputs, in the model's order. Throws on names, dtypes and shapes that are not the model's. */
  #natives(
    inputs: Readonly<Record<string, Tensor>>,
    outputs: Readonly<Record<string, Tensor>>,
  ): NativeTensor[] {
    const faults: Fault[] = [];
    const natives = this.inputNames.map((name) => findNative("input", name, inputs[name], faults));
    const given = this.outputNames.filter((name) => Object.hasOwn(outputs, name));
    for (const name of given) findNative("output", name, outputs[name], faults);
    findUnknown("input", inputs, this.#inputs, faults);
    findUnknown("output", outputs, this.#outputs, faults);
    throwFaults("run a session", faults);
    return natives.filter((native) => native !== undefined);
  }

  /** Checks all tensors, and makes those of the outputs whose shapes the inputs decide and that are not given. */
  #freshOutputs(
    natives: readonly NativeTensor[],
    outputs: Readonly<Record<string, Tensor>>,
  ): Record<string, Tensor> {
    const faults: Fault[] = [];
    const symbols = new Map<string, number>();
    this.#native.inputs.forEach((port, i) => {
      const native = natives[i];
      if (native) compare("input", port, native, symbols, faults);
    });
    const known = new Map(symbols);
    const fresh: Record<string, Tensor> = {};
    for (const port of this.#native.outputs) {
      const given = outputs[port.name];
      const native = given && nativeOf(given);
      if (native) compare("output", port, native, symbols, faults);
      const shape = given ? undefined : knownShape(port, known);
      if (shape) fresh[port.name] = Tensor.zeros(port.dtype, shape);
    }
    throwFaults("run a session", faults);
    return fresh;
  }

  #newSlot(): Slot {
    const { api, compiled } = this.#native;
    return {
      request: receive<Handle<"OvInferRequest">>((out) =>
        api.ov_compiled_model_create_infer_request(compiled, out),
      ),
      boundInputs: this.inputNames.map(() => 0),
      boundOutputs: this.outputNames.map(() => 0),
    };
  }

  /** Sets what differs from the slot's last run. */
  #bind(
    { request, boundInputs, boundOutputs }: Slot,
    inputs: readonly NativeTensor[],
    outputs: readonly (NativeTensor | undefined)[],
  ): void {
    const native = this.#native;
    const { api } = native;
    const set = (port: NativePort, memory: NativeTensor): void =>
      withOvTensor(api, memory, (tensor) =>
        api.ov_infer_request_set_tensor_by_const_port(request, port.handle, tensor),
      );
    native.inputs.forEach((port, i) => {
      const memory = inputs[i];
      if (memory === undefined || memory.id === boundInputs[i]) return;
      set(port, memory);
      boundInputs[i] = memory.id;
    });
    native.outputs.forEach((port, i) => {
      const memory = outputs[i];
      if ((memory?.id ?? 0) === boundOutputs[i]) return;
      if (memory) set(port, memory);
      else this.#setOwnOutput(request, port);
      boundOutputs[i] = memory?.id ?? 0;
    });
  }

  /** Gives an output memory of the request's own again, which grows as it has to. */
  #setOwnOutput(request: Handle<"OvInferRequest">, port: NativePort): void {
    const { api } = this.#native;
    const { shape, kept } = shapeArgument(port.shape.map((d) => (typeof d === "number" ? d : 0)));
    const tensor = receive<Handle<"OvTensor">>((out) =>
      api.ov_tensor_create(elementTypeOf(port.dtype), shape, out),
    );
    void kept;
    api.ov_infer_request_set_tensor_by_const_port(request, port.handle, tensor);
    api.release.tensor(tensor);
  }

  /** The tensor of an output: the given one, the one made for it, or a copy of what stands in the request's own memory. */
  #collect(
    { request }: Slot,
    port: NativePort,
    given: Tensor | undefined,
    made: Tensor | undefined,
  ): Tensor {
    if (made && port.shape.every((d) => typeof d === "number")) return made;
    const { api } = this.#native;
    const tensor = receive<Handle<"OvTensor">>((out) =>
      api.ov_infer_request_get_tensor_by_const_port(request, port.handle, out),
    );
    try {
      const found = new BigUint64Array(2);
      api.ov_tensor_get_shape(tensor, found);
      const sizes = api.takeShape(found);
      if (made) {
        if (String(sizes) !== String(made.shape))
          throw new RangeError(
            `Cannot run a session: found ${given ? "a given tensor" : "memory"} [${made.shape.join(", ")}] for output "${port.name}", expected [${sizes.join(", ")}]`,
          );
        return made;
      }
      const copy = Tensor.zeros(port.dtype, sizes);
      if (copy.byteLength > 0) {
        const address = receive((out) => api.ov_tensor_data(tensor, out));
        const { array } = dtypes[port.dtype];
        (copy.data as Uint8Array).set(
          new array(viewMemory(address, copy.byteLength), 0, copy.data.length) as Uint8Array,
        );
      }
      return copy;
    } finally {
      api.release.tensor(tensor);
    }
  }
}
