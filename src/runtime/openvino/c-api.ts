import koffi, { type LibraryHandle } from "koffi";
import type { DType } from "../../core/dtype.js";
import { UserError } from "../../core/errors.js";
import { enterNative, leaveNative } from "../exit-hook.js";
import { readAddresses, type Handle } from "../ort/c-api.js";
import { OpenVinoError } from "./openvino-error.js";

// As with ONNX Runtime's C API, a wrong argument here is a crash, not an exception: addresses leave this file as Handles
// of their kind, and Tensor and OpenVinoSession keep what they point at.

/** Argument kinds, by the type that TypeScript holds for them. `out` receives one address or one size_t. */
interface ArgumentTypes {
  core: Handle<"OvCore">;
  model: Handle<"OvModel">;
  compiled: Handle<"OvCompiledModel">;
  request: Handle<"OvInferRequest">;
  tensor: Handle<"OvTensor">;
  port: Handle<"OvPort">;
  bytes: Uint8Array;
  none: null;
  out: BigUint64Array;
  outInt: Int32Array;
  int: number;
  size: number;
  text: string;
  shape: Shape;
  properties: BigUint64Array;
  address: bigint;
}
type ArgumentKind = keyof ArgumentTypes;

/** ov_shape_t, which is passed by value: the caller keeps the array that `dims` is the address of. */
interface Shape {
  readonly rank: number;
  readonly dims: bigint;
}

/** Functions with their arguments; all return ov_status_e. Source: openvino/c/*.h of OpenVINO 2026.4. */
const table = {
  ov_core_create: ["out"],
  ov_core_get_property: ["core", "text", "text", "out"],
  ov_core_read_model_from_memory_buffer: ["core", "bytes", "size", "none", "out"],
  ov_core_compile_model_props: ["core", "model", "text", "size", "properties", "out"],
  ov_compiled_model_create_infer_request: ["compiled", "out"],
  ov_compiled_model_input_by_name: ["compiled", "text", "out"],
  ov_compiled_model_output_by_index: ["compiled", "size", "out"],
  ov_infer_request_set_tensor_by_const_port: ["request", "port", "tensor"],
  ov_infer_request_get_tensor_by_const_port: ["request", "port", "out"],
  ov_infer_request_infer: ["request"],
  ov_infer_request_cancel: ["request"],
  ov_tensor_create: ["int", "shape", "out"],
  ov_tensor_create_from_host_ptr: ["int", "shape", "address", "out"],
  ov_tensor_get_shape: ["tensor", "out"],
  ov_tensor_data: ["tensor", "out"],
} as const satisfies Record<string, readonly ArgumentKind[]>;

/** Functions that release a native object: `void(T *)`. */
const releases = {
  core: "ov_core_free",
  model: "ov_model_free",
  compiled: "ov_compiled_model_free",
  request: "ov_infer_request_free",
  tensor: "ov_tensor_free",
  port: "ov_output_const_port_free",
} as const satisfies Partial<Record<ArgumentKind, string>>;

type Table = typeof table;
type Arguments<Kinds extends readonly ArgumentKind[]> = {
  -readonly [I in keyof Kinds]: ArgumentTypes[Kinds[I]];
};
type Calls = { readonly [Name in keyof Table]: (...args: Arguments<Table[Name]>) => void };
/** The calls that take long: reading, compiling, inferring. */
const long = [
  "ov_core_read_model_from_memory_buffer",
  "ov_core_compile_model_props",
  "ov_infer_request_infer",
] as const;
type AsyncCalls = {
  readonly [Name in (typeof long)[number]]: (...args: Arguments<Table[Name]>) => Promise<void>;
};

/** OpenVINO's C functions: they throw OpenVinoError where the C function returns another status than OK. */
export interface OpenVinoApi extends Calls {
  /** The same functions on a thread of libuv's pool. */
  readonly async: AsyncCalls;
  readonly release: { readonly [K in keyof typeof releases]: (handle: ArgumentTypes[K]) => void };
  /** Such as "2026.4.1". */
  readonly version: string;
  /** Frees a text that a function made. */
  readonly freeText: (address: bigint) => void;
  /** The shape that a function wrote through its argument: rank and the address of sizes, which is freed. */
  readonly takeShape: (shape: BigUint64Array) => readonly number[];
}

/** ov_element_type_e. */
const elementTypes: Readonly<Record<DType, number>> = {
  bool: 1,
  bfloat16: 2,
  float16: 3,
  float32: 4,
  float64: 5,
  int8: 7,
  int32: 9,
  int64: 10,
  uint8: 16,
};

/** The number that OpenVINO has for a dtype. */
export const elementTypeOf = (dtype: DType): number => elementTypes[dtype];

const nativeTypes: Readonly<Partial<Record<ArgumentKind, string>>> = {
  int: "int32_t",
  size: "size_t",
  text: "const char *",
  shape: "hira_ov_shape_t",
};

// koffi unloads a library whose handle is collected: these stay for good, by path.
const libraries = new Map<string, OpenVinoApi>();
let shapeType: unknown;

const bind = (library: LibraryHandle): OpenVinoApi => {
  // A size_t rank, and the address of the sizes.
  shapeType ??= koffi.struct("hira_ov_shape_t", { rank: "int64_t", dims: "void *" });
  type Native = ReturnType<LibraryHandle["func"]>;
  const native = (name: string, result: string, args: readonly string[]): Native =>
    library.func(name, result, [...args]);

  const lastMessage = native("ov_get_last_err_msg", "void *", []);
  const freeText = native("ov_free", "void", ["void *"]) as (address: bigint) => void;
  const takeText = (address: bigint | null): string => {
    if (address === null) return "";
    const text = koffi.decode.string(address);
    freeText(address);
    return text;
  };
  const failureOf = (name: string, status: number): OpenVinoError | undefined =>
    status === 0
      ? undefined
      : new OpenVinoError(status, `${name}: ${takeText(lastMessage() as bigint | null).trim()}`);

  const freeShape = native("ov_shape_free", "int32_t", ["void *"]);

  const functions = new Map<string, Native>();
  const calls: Record<string, (...args: unknown[]) => void> = {};
  for (const [name, kinds] of Object.entries(table)) {
    const fn = native(
      name,
      "int32_t",
      kinds.map((kind) => nativeTypes[kind] ?? "void *"),
    );
    functions.set(name, fn);
    calls[name] = (...args) => {
      const failure = failureOf(name, fn(...args) as number);
      if (failure) throw failure;
    };
  }
  // The arguments are kept until the call has ended: native code reads their memory without V8 knowing.
  const callAsync =
    (name: string) =>
    (...args: unknown[]): Promise<void> =>
      new Promise((resolve, reject) => {
        enterNative(args);
        functions.get(name)?.async(...args, (error: Error | null, status: number) => {
          leaveNative(args);
          const failure = error ?? failureOf(name, status);
          if (failure) reject(failure);
          else resolve();
        });
      });

  const versionFields = new BigUint64Array(2);
  native("ov_get_openvino_version", "int32_t", ["void *"])(versionFields);
  const build = koffi.decode.string(versionFields[0] ?? 0n);
  native("ov_version_free", "void", ["void *"])(versionFields);
  return {
    ...(calls as unknown as Calls),
    async: Object.fromEntries(long.map((name) => [name, callAsync(name)])) as unknown as AsyncCalls,
    release: Object.fromEntries(
      Object.entries(releases).map(([kind, name]) => [kind, native(name, "void", ["void *"])]),
    ) as unknown as OpenVinoApi["release"],
    version: /^\d+\.\d+\.\d+/.exec(build)?.[0] ?? build,
    freeText,
    takeShape(shape) {
      const [rank = 0n, sizes = 0n] = shape;
      const copy = Array.from(readAddresses(sizes, Number(rank)), Number);
      freeShape(shape);
      return copy;
    },
  };
};

/** Loads libopenvino_c at `path`, once a process. @throws {UserError} if the system refuses it, or it lacks a function */
export const loadOpenVino = (path: string): OpenVinoApi => {
  const known = libraries.get(path);
  if (known) return known;
  try {
    const api = bind(koffi.load(path));
    libraries.set(path, api);
    return api;
  } catch (error) {
    throw new UserError(
      `Cannot load OpenVINO from ${path}: ${error instanceof Error ? error.message : String(error)}, expected version 2026.4 or later`,
      "Install it anew: scripts/install-accelerator.sh openvino",
    );
  }
};

/** A shape for a call, and the array that has to live until the call has ended. */
export const shapeArgument = (
  shape: readonly number[],
): { readonly shape: Shape; readonly kept: BigInt64Array } => {
  const kept = BigInt64Array.from(shape.length === 0 ? [1n] : shape.map(BigInt));
  void kept.buffer;
  return { shape: { rank: shape.length, dims: koffi.address(kept) }, kept };
};

/** ov_property_t[]: texts by key, and the buffers that have to live until the call has ended. */
export const propertyArgument = (
  properties: Readonly<Record<string, string>>,
): { readonly size: number; readonly array: BigUint64Array; readonly kept: readonly Buffer[] } => {
  const kept = Object.entries(properties)
    .flat()
    .map((text) => Buffer.from(`${text}\0`));
  return {
    size: kept.length / 2,
    array: BigUint64Array.from(kept, (buffer) => koffi.address(buffer)),
    kept,
  };
};
