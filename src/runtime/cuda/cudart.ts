import koffi, { type LibraryHandle } from "koffi";
import { addressOf } from "../ort/c-api.js";

/** What a card is, and what it has left. */
export interface CardFacts {
  readonly name: string;
  /** Of the architecture, such as [9, 0]. */
  readonly capability: readonly [major: number, minor: number];
  readonly totalBytes: number;
  readonly freeBytes: number;
}

/** A status of CUDA's that is not success. */
export class CudaError extends Error {
  override readonly name = "CudaError";
  readonly code: number;

  constructor(code: number, call: string, text: string) {
    super(`${call}: ${text} (CUDA error ${String(code)})`);
    this.code = code;
  }
}

/** cudaErrorMemoryAllocation. */
export const outOfMemory = 2;

/** The direction of a copy: cudaMemcpyKind. */
const copyKinds = { up: 1, down: 2, within: 3 } as const;

/** cudaDeviceAttr. */
const attributes = { capabilityMajor: 75, capabilityMinor: 76 } as const;

/** Bytes of cudaDeviceProp, with room to spare; its first field is the name, of 256 bytes. */
const propertiesBytes = 4096;

/** The CUDA runtime's functions that a device takes. Addresses are the card's, but where they are called host addresses. */
export interface CudaRuntime {
  /** Of the driver and of the runtime, as 13000 for 13.0. @throws {CudaError} */
  versions(): { readonly driver: number; readonly runtime: number };
  /** How many cards this process sees. @throws {CudaError} without any, or with too old a driver */
  cardCount(): number;
  /** Chooses a card for this thread. @throws {CudaError} */
  useCard(card: number): void;
  facts(card: number): CardFacts;
  createStream(): bigint;
  destroyStream(stream: bigint): void;
  /** Waits until the stream's work is done. @throws {CudaError} of that work */
  synchronize(stream: bigint): void;
  /** @throws {CudaError} with code {@link outOfMemory} */
  allocate(bytes: number): bigint;
  free(address: bigint): void;
  /** Memory of the host that copies go to and from without the driver's own staging. */
  allocatePinned(bytes: number): bigint;
  freePinned(hostAddress: bigint): void;
  /** Zeros, in the stream's order. */
  clear(address: bigint, bytes: number, stream: bigint): void;
  /** Host to card, after the stream's work so far; returns when `source` may change. */
  copyUp(address: bigint, source: ArrayBufferView, stream: bigint): void;
  /** From pinned memory to the card, in the stream's order; the pinned memory must not change until the stream got there. */
  copyUpPinned(address: bigint, hostAddress: bigint, bytes: number, stream: bigint): void;
  /** Card to host, after the stream's work so far. */
  copyDown(target: ArrayBufferView, address: bigint, stream: bigint): void;
  /** On the card, in the stream's order. */
  copyWithin(to: bigint, from: bigint, bytes: number, stream: bigint): void;
}

/** The functions of a loaded libcudart. Source: cuda_runtime_api.h of CUDA 13. */
export const bindCudaRuntime = (library: LibraryHandle): CudaRuntime => {
  const fn = (name: string, ...types: readonly string[]): ((...args: unknown[]) => number) =>
    library.func(name, "int32_t", [...types]);
  const errorText = library.func("cudaGetErrorString", "const char *", ["int32_t"]);
  const lastError = fn("cudaGetLastError");
  const bind = (name: string, ...types: readonly string[]): ((...args: unknown[]) => void) => {
    const call = fn(name, ...types);
    return (...args) => {
      const code = call(...args);
      if (code === 0) return;
      // Else the runtime's next caller would take it for its own.
      lastError();
      throw new CudaError(code, name, errorText(code) as string);
    };
  };
  const native = {
    driverVersion: bind("cudaDriverGetVersion", "void *"),
    runtimeVersion: bind("cudaRuntimeGetVersion", "void *"),
    count: bind("cudaGetDeviceCount", "void *"),
    use: bind("cudaSetDevice", "int32_t"),
    attribute: bind("cudaDeviceGetAttribute", "void *", "int32_t", "int32_t"),
    properties: bind("cudaGetDeviceProperties", "void *", "int32_t"),
    memory: bind("cudaMemGetInfo", "void *", "void *"),
    createStream: bind("cudaStreamCreate", "void *"),
    destroyStream: bind("cudaStreamDestroy", "void *"),
    synchronize: bind("cudaStreamSynchronize", "void *"),
    allocate: bind("cudaMalloc", "void *", "size_t"),
    free: bind("cudaFree", "void *"),
    allocatePinned: bind("cudaHostAlloc", "void *", "size_t", "uint32_t"),
    freePinned: bind("cudaFreeHost", "void *"),
    set: bind("cudaMemsetAsync", "void *", "int32_t", "size_t", "void *"),
    copy: bind("cudaMemcpyAsync", "void *", "void *", "size_t", "int32_t", "void *"),
  };
  const int = (call: (out: Int32Array) => void): number => {
    const out = new Int32Array(1);
    call(out);
    return out[0] ?? 0;
  };
  const address = (call: (out: BigUint64Array) => void): bigint => {
    const out = new BigUint64Array(1);
    call(out);
    return out[0] ?? 0n;
  };
  return {
    versions: () => ({
      driver: int((out) => native.driverVersion(out)),
      runtime: int((out) => native.runtimeVersion(out)),
    }),
    cardCount: () => int((out) => native.count(out)),
    useCard: (card) => native.use(card),
    facts(card) {
      const properties = Buffer.alloc(propertiesBytes);
      native.properties(properties, card);
      const attribute = (which: number): number => int((out) => native.attribute(out, which, card));
      const [free, total] = [new BigUint64Array(1), new BigUint64Array(1)];
      native.memory(free, total);
      return {
        name: properties.toString("latin1", 0, properties.indexOf(0)),
        capability: [attribute(attributes.capabilityMajor), attribute(attributes.capabilityMinor)],
        totalBytes: Number(total[0]),
        freeBytes: Number(free[0]),
      };
    },
    createStream: () => address((out) => native.createStream(out)),
    destroyStream: (stream) => native.destroyStream(stream),
    synchronize: (stream) => native.synchronize(stream),
    allocate: (bytes) => address((out) => native.allocate(out, bytes)),
    free: (at) => native.free(at),
    allocatePinned: (bytes) => address((out) => native.allocatePinned(out, bytes, 0)),
    freePinned: (at) => native.freePinned(at),
    clear: (at, bytes, stream) => native.set(at, 0, bytes, stream),
    copyUp(at, source, stream) {
      native.copy(at, addressOf(source), source.byteLength, copyKinds.up, stream);
      native.synchronize(stream);
    },
    copyUpPinned: (at, from, bytes, stream) => native.copy(at, from, bytes, copyKinds.up, stream),
    copyDown(target, at, stream) {
      native.copy(addressOf(target), at, target.byteLength, copyKinds.down, stream);
      native.synchronize(stream);
    },
    copyWithin: (to, from, bytes, stream) => native.copy(to, from, bytes, copyKinds.within, stream),
  };
};

/** Loads a library for the whole process: what later ones need of it they find. @throws what the system says */
export const loadGlobally = (path: string): LibraryHandle =>
  koffi.load(path, { global: true, lazy: true });
