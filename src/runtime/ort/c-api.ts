import koffi from "koffi";
import { enterNative, leaveNative } from "../exit-hook.js";
import { loadOnnxRuntime } from "./library.js";
import { OrtError } from "./ort-error.js";

// The one unsafe room: a wrong argument here is a crash, not an exception. Every address that leaves this file is a
// Handle of its kind, no other folder may import this one, and Tensor and Session keep what the addresses point at.

declare const kind: unique symbol;
/** The address of a native object, told apart by kind so that the compiler refuses a mix-up. */
export type Handle<Kind extends string> = bigint & { readonly [kind]: Kind };

/** Argument kinds, by the type that TypeScript holds for them. `out` receives one address or one size_t. */
interface ArgumentTypes {
  env: Handle<"Env">;
  sessionOptions: Handle<"SessionOptions">;
  session: Handle<"Session">;
  runOptions: Handle<"RunOptions">;
  binding: Handle<"IoBinding">;
  value: Handle<"Value">;
  memoryInfo: Handle<"MemoryInfo">;
  allocator: Handle<"Allocator">;
  typeInfo: Handle<"TypeInfo">;
  shapeInfo: Handle<"TensorTypeAndShapeInfo">;
  cudaOptions: Handle<"CudaProviderOptions">;
  arenaConfig: Handle<"ArenaConfig">;
  addresses: BigUint64Array;
  address: bigint;
  bytes: Uint8Array;
  out: BigUint64Array;
  outInt: Int32Array;
  dimensions: BigInt64Array;
  int: number;
  size: number;
  text: string;
  path: string;
}
type ArgumentKind = keyof ArgumentTypes;

const nativeType = (argument: ArgumentKind): string => {
  switch (argument) {
    case "int":
      return "int32_t";
    case "size":
      return "size_t";
    case "text":
      return "const char *";
    case "path": // ORTCHAR_T, which is wchar_t on Windows
      return process.platform === "win32" ? "const char16_t *" : "const char *";
    default:
      return "void *";
  }
};

/**
 * Functions of OrtApi by their place in the table, with their arguments; all return OrtStatus*.
 *
 * The table only ever grows at its end, so these places hold for every version from 24 on.
 * Source: onnxruntime_c_api.h, struct OrtApi.
 */
const table = {
  createEnv: [3, "int", "text", "out"],
  createSessionFromArray: [8, "env", "bytes", "size", "sessionOptions", "out"],
  createSessionOptions: [10, "out"],
  enableProfiling: [14, "sessionOptions", "path"],
  disableMemPattern: [17, "sessionOptions"],
  disableCpuMemArena: [19, "sessionOptions"],
  setSessionLogSeverityLevel: [22, "sessionOptions", "int"],
  setSessionGraphOptimizationLevel: [23, "sessionOptions", "int"],
  setIntraOpNumThreads: [24, "sessionOptions", "int"],
  sessionGetInputCount: [30, "session", "out"],
  sessionGetOutputCount: [31, "session", "out"],
  sessionGetInputTypeInfo: [33, "session", "size", "out"],
  sessionGetOutputTypeInfo: [34, "session", "size", "out"],
  sessionGetInputName: [36, "session", "size", "allocator", "out"],
  sessionGetOutputName: [37, "session", "size", "allocator", "out"],
  createRunOptions: [39, "out"],
  runOptionsSetTerminate: [46, "runOptions"],
  createTensor: [48, "allocator", "dimensions", "size", "int", "out"],
  createTensorWithData: [49, "memoryInfo", "address", "size", "dimensions", "size", "int", "out"],
  getTensorMutableData: [51, "value", "out"],
  castTypeInfoToTensorInfo: [55, "typeInfo", "out"],
  getTensorElementType: [60, "shapeInfo", "outInt"],
  getDimensionsCount: [61, "shapeInfo", "out"],
  getDimensions: [62, "shapeInfo", "dimensions", "size"],
  getSymbolicDimensions: [63, "shapeInfo", "out", "size"],
  getTensorTypeAndShape: [65, "value", "out"],
  createMemoryInfo: [68, "text", "int", "int", "int", "out"],
  createCpuMemoryInfo: [69, "int", "int", "out"],
  allocatorFree: [76, "allocator", "address"],
  getAllocatorWithDefaultOptions: [78, "out"],
  sessionEndProfiling: [110, "session", "allocator", "out"],
  addSessionConfigEntry: [130, "sessionOptions", "text", "text"],
  createAllocator: [131, "session", "memoryInfo", "out"],
  runWithBinding: [133, "session", "runOptions", "binding"],
  createIoBinding: [134, "session", "out"],
  bindInput: [136, "binding", "text", "value"],
  bindOutput: [137, "binding", "text", "value"],
  bindOutputToDevice: [138, "binding", "text", "memoryInfo"],
  getBoundOutputValues: [140, "binding", "allocator", "out", "out"],
  createAndRegisterAllocator: [144, "env", "memoryInfo", "arenaConfig"],
  addInitializer: [150, "sessionOptions", "text", "value"],
  createArenaConfig: [164, "addresses", "addresses", "size", "out"],
  addRunConfigEntry: [165, "runOptions", "text", "text"],
  unregisterAllocator: [177, "env", "memoryInfo"],
  appendCudaProvider: [204, "sessionOptions", "cudaOptions"],
  createCudaProviderOptions: [205, "out"],
  updateCudaProviderOptions: [206, "cudaOptions", "addresses", "addresses", "size"],
  appendProviderByName: [216, "sessionOptions", "text", "addresses", "addresses", "size"],
  registerExecutionProviderLibrary: [301, "env", "text", "path"],
  getEpDevices: [303, "env", "out", "out"],
  appendExecutionProvider: [
    304,
    "sessionOptions",
    "env",
    "addresses",
    "size",
    "addresses",
    "addresses",
    "size",
  ],
  copyTensors: [386, "env", "addresses", "addresses", "address", "size"],
} as const satisfies Record<string, readonly [place: number, ...ArgumentKind[]]>;

/** Functions that release a native object: `void(T *)`, null is allowed. */
const releases = {
  env: 92,
  memoryInfo: 94,
  session: 95,
  value: 96,
  runOptions: 97,
  typeInfo: 98,
  shapeInfo: 99,
  sessionOptions: 100,
  allocator: 132,
  binding: 135,
  arenaConfig: 157,
  cudaOptions: 208,
} as const satisfies Partial<Record<ArgumentKind, number>>;

type Table = typeof table;
type Arguments<Entry> = Entry extends readonly [number, ...infer Kinds extends ArgumentKind[]]
  ? { [I in keyof Kinds]: ArgumentTypes[Kinds[I]] }
  : never;

/** Each function throws OrtError where the C function returns a status. */
type Calls = { readonly [Name in keyof Table]: (...args: Arguments<Table[Name]>) => void };
/** The same functions on a thread of libuv's pool (four, unless UV_THREADPOOL_SIZE says otherwise). */
type AsyncCalls = {
  readonly [Name in "createSessionFromArray" | "runWithBinding"]: (
    ...args: Arguments<Table[Name]>
  ) => Promise<void>;
};
type Releases = {
  readonly [Name in keyof typeof releases]: (handle: ArgumentTypes[Name]) => void;
};

/** ONNX Runtime's C functions: those that return at once, those that work on another thread, and those that free. */
export interface CApi extends Calls {
  readonly async: AsyncCalls;
  readonly release: Releases;
  /** The version of the library, such as "1.30.0". */
  readonly version: string;
  /** What a registered provider library offers: its provider's name, and whether it is a GPU. */
  readonly epDevice: (device: bigint) => { readonly name: string; readonly isGpu: boolean };
}

const apiVersion = 24;

const load = (): CApi => {
  const library = loadOnnxRuntime();
  const base = library.func("OrtGetApiBase", "void *", [])() as bigint;
  const entry = (address: bigint, place: number): unknown =>
    koffi.decode(address, place * 8, "void *");
  const call = (address: unknown, result: string, args: string[], ...values: unknown[]): unknown =>
    koffi.call(address, koffi.proto(result, args), ...values);

  const version = call(entry(base, 1), "const char *", []) as string;
  const api = call(entry(base, 0), "void *", ["uint32_t"], apiVersion) as bigint | null;
  if (api === null)
    throw new Error(
      `Cannot use ONNX Runtime ${version}: found no C API of version ${apiVersion}, expected 1.${apiVersion} or later`,
    );

  type Native = ReturnType<typeof library.func>;
  const native = (place: number, result: string, args: readonly string[]): Native =>
    koffi.decode(entry(api, place), koffi.proto(result, [...args])) as Native;

  const getErrorCode = native(1, "int32_t", ["void *"]);
  const getErrorMessage = native(2, "const char *", ["void *"]);
  const releaseStatus = native(93, "void", ["void *"]);
  const failureOf = (status: unknown): OrtError | undefined => {
    if (status === null) return undefined;
    const message = (getErrorMessage(status) as string).trim();
    const error = new OrtError(getErrorCode(status) as number, message);
    releaseStatus(status);
    return error;
  };
  const check = (status: unknown): void => {
    const failure = failureOf(status);
    if (failure) throw failure;
  };

  const epName = native(312, "const char *", ["void *"]);
  const epHardware = native(316, "void *", ["void *"]);
  const hardwareType = native(307, "int32_t", ["void *"]);

  const functions = new Map<string, Native>();
  const calls: Record<string, (...args: unknown[]) => void> = {};
  for (const [name, [place, ...kinds]] of Object.entries(table)) {
    const fn = native(place, "void *", kinds.map(nativeType));
    functions.set(name, fn);
    calls[name] = (...args) => check(fn(...args));
  }

  // The arguments are kept until the call has ended: native code reads and writes their memory without V8 knowing.
  const callAsync =
    (name: keyof AsyncCalls) =>
    (...args: unknown[]): Promise<void> =>
      new Promise((resolve, reject) => {
        enterNative(args);
        functions.get(name)?.async(...args, (error: Error | null, status: unknown) => {
          leaveNative(args);
          const failure = error ?? failureOf(status);
          if (failure) reject(failure);
          else resolve();
        });
      });

  return {
    ...(calls as unknown as Calls),
    async: {
      createSessionFromArray: callAsync("createSessionFromArray"),
      runWithBinding: callAsync("runWithBinding"),
    },
    release: Object.fromEntries(
      Object.entries(releases).map(([name, place]) => [name, native(place, "void", ["void *"])]),
    ) as unknown as Releases,
    version,
    epDevice: (device) => ({
      name: epName(device) as string,
      isGpu: hardwareType(epHardware(device)) === 1,
    }),
  };
};

let loaded: CApi | undefined;
/** The C API. The first call loads the library, so that a command which computes nothing never does. */
export const ort = (): CApi => (loaded ??= load());

const scratch = new BigUint64Array(1);
const scratchInt = new Int32Array(1);

/** The address or size that `call` writes through its out argument. */
export const receive = <T extends bigint>(call: (out: BigUint64Array) => void): T => {
  scratch[0] = 0n;
  call(scratch);
  return (scratch[0] ?? 0n) as T;
};

/** The size that `call` writes through its out argument. */
export const receiveSize = (call: (out: BigUint64Array) => void): number => Number(receive(call));

/** The int that `call` writes through its out argument. */
export const receiveInt = (call: (out: Int32Array) => void): number => {
  call(scratchInt);
  return scratchInt[0] ?? 0;
};

/** The text at `address`: UTF-8 up to a zero byte. */
export const readText = (address: bigint): string => koffi.decode.string(address);

/** A copy of `count` addresses that stand at `address`. */
export const readAddresses = (address: bigint, count: number): BigUint64Array =>
  count === 0 ? new BigUint64Array(0) : new BigUint64Array(koffi.view(address, count * 8)).slice();

/** Texts as C takes a list of them: their addresses, for as long as the caller keeps the result. */
export const listOfTexts = (
  texts: readonly string[],
): { readonly addresses: BigUint64Array; readonly kept: readonly Buffer[] } => {
  const kept = texts.map((text) => Buffer.from(`${text}\0`));
  return { addresses: BigUint64Array.from(kept, (text) => addressOf(text)), kept };
};

/** Where the first byte of `array` stands, for as long as the caller keeps `array` alive. */
export const addressOf = (array: ArrayBufferView): bigint => {
  // Asking for the buffer moves a small array's elements out of V8's heap, to where they stay.
  void array.buffer;
  return koffi.address(array);
};

/** `byteLength` bytes at `address`, not copied: the caller keeps that memory alive as long as the result. */
export const viewMemory = (address: bigint, byteLength: number): ArrayBuffer =>
  koffi.view(address, byteLength);

let env: Handle<"Env"> | undefined;
/** The process's OrtEnv; never released. Level 4 (fatal): what goes wrong comes back as OrtError, not as printed lines. */
export const environment = (): Handle<"Env"> =>
  (env ??= receive<Handle<"Env">>((out) => ort().createEnv(4, "hira", out)));

let memoryInfo: Handle<"MemoryInfo"> | undefined;
/** Says "memory of the host"; never released. */
export const hostMemory = (): Handle<"MemoryInfo"> =>
  (memoryInfo ??= receive<Handle<"MemoryInfo">>((out) => ort().createCpuMemoryInfo(1, 0, out)));

let allocator: Handle<"Allocator"> | undefined;
/** The allocator of names and arrays that the runtime returns; owned by the library. */
export const defaultAllocator = (): Handle<"Allocator"> =>
  (allocator ??= receive<Handle<"Allocator">>((out) => ort().getAllocatorWithDefaultOptions(out)));
