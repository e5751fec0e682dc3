import type { DType, TypedArray } from "../../src/core/dtype.js";
import { cpuDevice } from "../../src/runtime/devices/cpu.js";
import type { Device } from "../../src/runtime/device.js";
import type { Session } from "../../src/runtime/session.js";
import { Tensor } from "../../src/runtime/tensor.js";

/** A copy between the host's memory and the device's. */
export interface Copy {
  /** Of a run's inputs and outputs their name; else what was called. */
  readonly what: string;
  readonly dtype: DType;
  readonly elements: number;
}

/** What has crossed since the last `reset`. */
export interface Copies {
  readonly toDevice: Copy[];
  readonly toHost: Copy[];
  reset(): void;
}

/** The elements of any tensor, wherever it claims to be. */
const elementsOf = (tensor: Tensor): TypedArray =>
  Reflect.get<Tensor, "data">(Tensor.prototype, "data", tensor);

const PLACE = "webgpu";

/** The tensor, from now on in memory that nobody but the device reads; without `canSlice`, a view of it begins where it does. */
const hidden = (tensor: Tensor, canSlice: boolean): Tensor => {
  const view = tensor.view.bind(tensor);
  const refuse = (what: string): never => {
    throw new RangeError(`Cannot ${what} a tensor [${tensor.shape.join()}] of the device's`);
  };
  return Object.defineProperties(tensor, {
    place: { value: PLACE },
    data: { get: () => refuse("read") },
    view: {
      value: (offset: number, shape: readonly number[]): Tensor =>
        offset > 0 && !canSlice ? refuse("cut") : hidden(view(offset, shape), canSlice),
    },
  });
};

/**
 * The CPU, as a device with memory of its own: the host sees no element of its tensors, and every copy is counted.
 *
 * @param canSlice whether its tensors can be any part of others; if not, a view that does not begin where they do is an error
 */
export const ownMemoryDevice = ({
  canSlice,
}: {
  readonly canSlice: boolean;
}): { readonly device: Device; readonly copies: Copies } => {
  const copies: Copies = {
    toDevice: [],
    toHost: [],
    reset() {
      copies.toDevice.length = copies.toHost.length = 0;
    },
  };
  const note = (list: Copy[], what: string, { dtype, shape }: Tensor): void => {
    list.push({ what, dtype, elements: shape.reduce((n, size) => n * size, 1) });
  };
  const own = (tensor: Tensor): Tensor => hidden(tensor, canSlice);
  const isHere = ({ place }: Tensor): boolean => place === PLACE;
  const counted = (session: Session): Session => ({
    inputNames: session.inputNames,
    outputNames: session.outputNames,
    async run(inputs, outputs = {}, options = {}) {
      for (const [name, tensor] of Object.entries(inputs))
        if (!isHere(tensor)) note(copies.toDevice, name, tensor);
      const made = await session.run(inputs, outputs, options);
      for (const [name, tensor] of Object.entries(made))
        if (!isHere(tensor)) note(copies.toHost, name, tensor);
      return made;
    },
    dispose: () => {
      session.dispose();
    },
  });
  const device: Device = {
    ...cpuDevice,
    description: "the CPU, with memory of its own",
    name: "webgpu",
    place: PLACE,
    cutsByLayer: false,
    canSlice,
    createSession: async (options) => counted(await cpuDevice.createSession(options)),
    zeros: (dtype, shape) => own(Tensor.zeros(dtype, shape)),
    upload(tensor) {
      if (isHere(tensor)) return tensor;
      const copy = Tensor.zeros(tensor.dtype, tensor.shape);
      copy.copyFrom(tensor);
      note(copies.toDevice, "upload", tensor);
      return own(copy);
    },
    read(tensor) {
      if (!isHere(tensor)) return tensor.data;
      note(copies.toHost, "read", tensor);
      return elementsOf(tensor).slice();
    },
    write(tensor, data) {
      note(copies.toDevice, "write", tensor);
      (elementsOf(tensor) as Uint8Array).set(
        Tensor.fromArray(tensor.dtype, tensor.shape, data).data as Uint8Array,
      );
    },
  };
  return { device, copies };
};
