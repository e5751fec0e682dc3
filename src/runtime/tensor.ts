import { allocate, dtypes, elementCount, type DType, type TypedArray } from "../core/dtype.js";
import { addressOf, hostMemory, ort, receive, viewMemory, type Handle } from "./ort/c-api.js";
import { mappedMemory, type MappedFile } from "./mapped-file.js";

/** Where a tensor's memory is: "host" is this process's own; other memory only its device can read. */
export type MemoryPlace = "host" | "webgpu" | `cuda:${number}`;

const showShape = (shape: readonly number[]): string => `[${shape.join(", ")}]`;

/** Memory that is not this process's: an address that means something to one device alone. */
export interface DeviceMemory {
  readonly place: Exclude<MemoryPlace, "host">;
  /** Tells ONNX Runtime where it is; it lives as long as the process. */
  readonly info: Handle<"MemoryInfo">;
  readonly address: bigint;
  /** Whether `address` may be counted up: false where it is the handle of a buffer. */
  readonly canSlice: boolean;
  /** Gives it back: called once, when no tensor, run or session uses it. */
  readonly free: () => void;
}

/** Arrays over memory that is not V8's hold that memory as a tensor does, until they are collected. */
const windows = new FinalizationRegistry<Storage>((storage) => storage.release());

// An address for tensors without bytes: native code gets something that is not null, and never reads it.
const nowhere = new Uint8Array(64);

/** Memory that one or more tensors look at, counted: it goes when the last of them has been released. */
class Storage {
  readonly address: bigint;
  readonly #byteLength: number;
  /** V8's memory: the buffer, and where the storage begins in it. */
  #buffer: ArrayBufferLike | undefined;
  readonly #bufferOffset: number;
  /** Other memory: what keeps it, how it is given back, and the buffer through which it is seen now. */
  owner: object | undefined;
  readonly #free: (() => void) | undefined;
  readonly place: MemoryPlace;
  readonly canSlice: boolean;
  readonly #info: Handle<"MemoryInfo"> | undefined;
  // Weak: the finalizer holds this storage, which so must not hold the buffer.
  #window: WeakRef<ArrayBuffer> | undefined;
  #uses = 0;

  private constructor(
    address: bigint,
    byteLength: number,
    memory: {
      view?: ArrayBufferView;
      owner?: object;
      free?: () => void;
      place?: MemoryPlace;
      info?: Handle<"MemoryInfo">;
      canSlice?: boolean;
    },
  ) {
    this.address = address;
    this.#byteLength = byteLength;
    this.#buffer = memory.view?.buffer;
    this.#bufferOffset = memory.view?.byteOffset ?? 0;
    this.owner = memory.owner;
    this.#free = memory.free;
    this.place = memory.place ?? "host";
    this.canSlice = memory.canSlice ?? true;
    this.#info = memory.info;
  }

  static ofArray(view: ArrayBufferView): Storage {
    const address = addressOf(view.byteLength === 0 ? nowhere : view);
    return new Storage(address, view.byteLength, { view });
  }

  static ofMapped(file: MappedFile, byteOffset: number, byteLength: number): Storage {
    const address = mappedMemory(file).address + BigInt(byteOffset);
    return new Storage(address, byteLength, { owner: file });
  }

  static ofValue(value: Handle<"Value">, address: bigint, byteLength: number): Storage {
    return new Storage(address, byteLength, { free: () => ort().release.value(value) });
  }

  static ofDevice(memory: DeviceMemory, byteLength: number): Storage {
    return new Storage(memory.address, byteLength, memory);
  }

  /** Tells ONNX Runtime where the memory is. */
  get info(): Handle<"MemoryInfo"> {
    return this.#info ?? hostMemory();
  }

  retain(): this {
    this.#uses++;
    return this;
  }

  release(): void {
    if (--this.#uses > 0) return;
    this.#free?.();
    this.#buffer = this.#window = this.owner = undefined;
  }

  /** False once the array's memory was given away with structuredClone or postMessage. */
  get attached(): boolean {
    const buffer = this.#buffer;
    return buffer === undefined || buffer.byteLength >= this.#bufferOffset + this.#byteLength;
  }

  /** Elements in place; a copy where a mapped tensor stands at an address that its dtype cannot be read from. */
  array(dtype: DType, byteOffset: number, length: number): TypedArray {
    const { array, bytes } = dtypes[dtype];
    if (length === 0) return allocate(dtype, 0);
    if (this.#buffer) return new array(this.#buffer, this.#bufferOffset + byteOffset, length);
    const window = this.#window?.deref() ?? viewMemory(this.address, this.#byteLength);
    if (this.address % BigInt(bytes) !== 0n)
      return new array(window.slice(byteOffset, byteOffset + length * bytes), 0, length);
    if (this.#window?.deref() !== window) {
      this.#window = new WeakRef(window);
      windows.register(window, this.retain());
    }
    return new array(window, byteOffset, length);
  }
}

let nextId = 1;

/**
 * The native side of a tensor, counted: the tensor holds it once, and so does every run and session that uses it.
 * So a tensor may be disposed, or collected, while native code still reads it.
 */
export class NativeTensor {
  readonly storage: Storage;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly byteOffset: number;
  readonly byteLength: number;
  /** Tells tensors apart without keeping them alive; never used twice. */
  readonly id = nextId++;
  // A double holds every address that a process is given (47 bits; 57 only on demand), and compares faster.
  readonly #begin: number;
  #value: Handle<"Value"> | undefined;
  #uses = 1;

  constructor(storage: Storage, dtype: DType, shape: readonly number[], byteOffset: number) {
    this.storage = storage.retain();
    this.dtype = dtype;
    this.shape = shape;
    this.byteOffset = byteOffset;
    this.byteLength = elementCount(shape) * dtypes[dtype].bytes;
    this.#begin = Number(this.address);
  }

  get address(): bigint {
    return this.storage.address + BigInt(this.byteOffset);
  }

  /** Whether `address` lies in this memory. */
  contains(address: bigint): boolean {
    const offset = Number(address) - this.#begin;
    return offset >= 0 && offset < this.byteLength;
  }

  /** The OrtValue over this memory, made when first asked for. */
  get value(): Handle<"Value"> {
    return (this.#value ??= receive<Handle<"Value">>((out) =>
      ort().createTensorWithData(
        this.storage.info,
        this.address,
        this.byteLength,
        BigInt64Array.from(this.shape, BigInt),
        this.shape.length,
        dtypes[this.dtype].onnx,
        out,
      ),
    ));
  }

  retain(): this {
    this.#uses++;
    return this;
  }

  release(): void {
    if (--this.#uses > 0) return;
    if (this.#value !== undefined) ort().release.value(this.#value);
    this.#value = undefined;
    this.storage.release();
  }
}

const released = new FinalizationRegistry<NativeTensor>((native) => native.release());

/** The native side of a tensor, or undefined once it is disposed; not for other rooms. */
export let nativeOf: (tensor: Tensor) => NativeTensor | undefined;
/** A tensor over memory that the runtime has allocated, which it owns from now on; not for other rooms. */
export let tensorOfValue: (
  value: Handle<"Value">,
  address: bigint,
  dtype: DType,
  shape: readonly number[],
) => Tensor;
/** A tensor over memory of a device, which it gives back in the end; not for other rooms. */
export let tensorOfDevice: (memory: DeviceMemory, dtype: DType, shape: readonly number[]) => Tensor;

const checkShape = (what: string, dtype: DType, shape: readonly number[]): number => {
  if (!Object.hasOwn(dtypes, dtype))
    throw new TypeError(
      `Cannot make a tensor ${what}: found dtype "${dtype}", expected one of ${Object.keys(dtypes).join(", ")}`,
    );
  const count = elementCount(shape);
  if (!shape.every((d) => Number.isSafeInteger(d) && d >= 0) || !Number.isSafeInteger(count * 8))
    throw new RangeError(
      `Cannot make a tensor ${what}: found shape ${showShape(shape)}, expected whole numbers from 0 on`,
    );
  return count;
};

/**
 * A dense, row-major array of one dtype, in memory that native code reads and writes in place.
 *
 * A tensor keeps its memory alive; views, arrays and running sessions do too. Where the runtime allocated it (outputs
 * that were not preallocated) `dispose` gives it back at once, unless one of those is left; without `dispose` that
 * happens after the tensor is collected.
 * Do not give the memory of a tensor's array away (structuredClone's transfer, postMessage) while a run uses it.
 */
export class Tensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly byteLength: number;
  /** Where the memory is: what is not in the host's, Device.read and Device.write copy from and to. */
  readonly place: MemoryPlace;
  #native: NativeTensor | undefined;
  #data: TypedArray | undefined;

  static {
    nativeOf = (tensor) => tensor.#native;
    tensorOfValue = (value, address, dtype, shape) => {
      const byteLength = elementCount(shape) * dtypes[dtype].bytes;
      if (byteLength > 0)
        return new Tensor(Storage.ofValue(value, address, byteLength), dtype, shape, 0);
      ort().release.value(value);
      return Tensor.zeros(dtype, shape);
    };
    tensorOfDevice = (memory, dtype, shape) => {
      const byteLength = checkShape(`in ${memory.place}`, dtype, shape) * dtypes[dtype].bytes;
      return new Tensor(Storage.ofDevice(memory, byteLength), dtype, shape, 0);
    };
  }

  private constructor(
    storage: Storage,
    dtype: DType,
    shape: readonly number[],
    byteOffset: number,
    data?: TypedArray,
  ) {
    const native = new NativeTensor(storage, dtype, Object.freeze([...shape]), byteOffset);
    this.dtype = dtype;
    this.shape = native.shape;
    this.byteLength = native.byteLength;
    this.place = storage.place;
    this.#native = native;
    this.#data = data;
    released.register(this, native, this);
  }

  /**
   * A tensor over the memory of `data`, which is not copied: each sees what is written through the other.
   *
   * float16 and bfloat16 take their bits in a Uint16Array, bool takes 0 or 1 in a Uint8Array.
   *
   * @throws {TypeError} if `data` is not the array type of `dtype`; {RangeError} if its length is not the shape's
   */
  static fromArray(dtype: DType, shape: readonly number[], data: TypedArray): Tensor {
    const count = checkShape("from an array", dtype, shape);
    const { array } = dtypes[dtype];
    if (!(data instanceof array))
      throw new TypeError(
        `Cannot make a ${dtype} tensor from an array: found ${describe(data)}, expected ${array.name}`,
      );
    if (data.length !== count)
      throw new RangeError(
        `Cannot make a ${dtype} tensor of shape ${showShape(shape)}: found ${data.length} elements, expected ${count}`,
      );
    return new Tensor(Storage.ofArray(data), dtype, shape, 0, data);
  }

  /** A tensor of zeros in memory of its own. @throws {RangeError} on a shape that is none */
  static zeros(dtype: DType, shape: readonly number[]): Tensor {
    return Tensor.fromArray(dtype, shape, allocate(dtype, checkShape("of zeros", dtype, shape)));
  }

  /**
   * A tensor over `elements * bytes` bytes of a mapped file, from `byteOffset` on; any alignment will do.
   *
   * @throws {RangeError} if they do not lie inside the file
   */
  static fromMapped(
    file: MappedFile,
    byteOffset: number,
    dtype: DType,
    shape: readonly number[],
  ): Tensor {
    const byteLength = checkShape(`from ${file.path}`, dtype, shape) * dtypes[dtype].bytes;
    if (
      !Number.isSafeInteger(byteOffset) ||
      byteOffset < 0 ||
      byteOffset + byteLength > file.byteLength
    )
      throw new RangeError(
        `Cannot make a ${dtype} tensor of shape ${showShape(shape)} from ${file.path}: found bytes ${byteOffset} to ${byteOffset + byteLength}, expected them within the file's ${file.byteLength}`,
      );
    return new Tensor(Storage.ofMapped(file, byteOffset, byteLength), dtype, shape, 0);
  }

  /**
   * A tensor over a stretch of the same memory, of the same dtype, from element `elementOffset` on.
   *
   * It outlives this one: disposing either leaves the other as it is.
   *
   * @throws {RangeError} if the stretch does not lie inside this tensor, or begins elsewhere where the device has no stretches;
   *   if this tensor is disposed
   */
  view(elementOffset: number, shape: readonly number[]): Tensor {
    const native = this.#alive("view");
    const count = checkShape("as a view", this.dtype, shape);
    const length = elementCount(this.shape);
    if (!Number.isSafeInteger(elementOffset) || elementOffset < 0 || elementOffset + count > length)
      throw new RangeError(
        `Cannot view ${showShape(shape)} from element ${elementOffset} of a tensor ${showShape(this.shape)}: found elements ${elementOffset} to ${elementOffset + count}, expected them within ${length}`,
      );
    if (elementOffset > 0 && !native.storage.canSlice)
      throw new RangeError(
        `Cannot view ${showShape(shape)} from element ${elementOffset} of a tensor ${showShape(this.shape)}: found it in the memory of ${this.place}, which has no stretches, expected element 0 (Device.canSlice)`,
      );
    const byteOffset = native.byteOffset + elementOffset * dtypes[this.dtype].bytes;
    return new Tensor(native.storage, this.dtype, shape, byteOffset);
  }

  /**
   * The elements, in place: for fromArray the very array that was given.
   *
   * The array stays valid as long as it is held, also after `dispose`: memory that the runtime allocated goes once its
   * tensors are disposed and its arrays collected. A mapped tensor's array is for reading: a write stays in this
   * process, and every session over the file sees it.
   *
   * @throws {RangeError} once the tensor is disposed, and if its memory is a device's
   */
  get data(): TypedArray {
    const native = this.#alive("read");
    const { place } = native.storage;
    if (place !== "host")
      throw new RangeError(
        `Cannot read a ${this.dtype} tensor of shape ${showShape(this.shape)} in place: found it in the memory of ${place}, expected it in the host's (Device.read copies)`,
      );
    return (this.#data ??= native.storage.array(
      this.dtype,
      native.byteOffset,
      elementCount(this.shape),
    ));
  }

  /** Copies the bits of `source` here. @throws {RangeError} unless dtype and shape are the same */
  copyFrom(source: Tensor): void {
    if (source.dtype !== this.dtype || showShape(source.shape) !== showShape(this.shape))
      throw new RangeError(
        `Cannot copy into a tensor: found ${source.dtype} ${showShape(source.shape)}, expected ${this.dtype} ${showShape(this.shape)}`,
      );
    // Both arrays are of one class, for which set() moves bytes: NaN payloads stay.
    (this.data as Uint8Array).set(source.data as Uint8Array);
  }

  /** Gives the memory back, as soon as no view, array, session or running call uses it. May be called again. */
  dispose(): void {
    if (this.#native === undefined) return;
    released.unregister(this);
    this.#native.release();
    this.#native = undefined;
    this.#data = undefined;
  }

  #alive(verb: string): NativeTensor {
    if (this.#native === undefined)
      throw new RangeError(
        `Cannot ${verb} a ${this.dtype} tensor of shape ${showShape(this.shape)}: found it disposed`,
      );
    return this.#native;
  }
}

const describe = (value: unknown): string =>
  typeof value === "object" && value !== null ? value.constructor.name : String(value);
