import { didYouMean } from "../../core/errors.js";
import type { DType } from "../../core/dtype.js";
import {
  defaultAllocator,
  ort,
  readText,
  receive,
  receiveInt,
  receiveSize,
  type Handle,
} from "./c-api.js";
import { dtypeOfOnnx } from "./external-initializers.js";
import { nativeOf, Tensor, type NativeTensor } from "../tensor.js";

/** An input or output: a number is a fixed dimension, a string one that is equal wherever it stands, null is any. */
export interface Port {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly (number | string | null)[];
}

const show = (dtype: string, shape: readonly (number | string | null)[]): string =>
  `${dtype} [${shape.map((d) => d ?? "?").join(", ")}]`;

/** One reason why tensors do not fit. */
export interface Fault {
  readonly type: "name" | "dtype" | "shape";
  readonly text: string;
}

/** @throws {TypeError} if all faults are of dtype, RangeError otherwise; the message has a line for each */
export const throwFaults = (what: string, faults: readonly Fault[]): void => {
  if (faults.length === 0) return;
  const message = faults.map(({ text }) => `Cannot ${what}: ${text}`).join("\n");
  throw faults.every(({ type }) => type === "dtype")
    ? new TypeError(message)
    : new RangeError(message);
};

/** The memory of a tensor that a caller gave for `name`; one that is missing, no tensor, or has none is added to `faults`. */
export const findNative = (
  role: string,
  name: string,
  tensor: Tensor | undefined,
  faults: Fault[],
): NativeTensor | undefined => {
  if (!(tensor instanceof Tensor)) {
    const found = tensor === undefined ? "nothing" : typeof tensor;
    faults.push({
      type: tensor === undefined ? "name" : "dtype",
      text: `found ${found} for ${role} "${name}", expected a Tensor`,
    });
    return undefined;
  }
  const native = nativeOf(tensor);
  if (native === undefined)
    faults.push({
      type: "name",
      text: `found a disposed tensor for ${role} "${name}", expected a live one`,
    });
  else if (!native.storage.attached)
    faults.push({
      type: "name",
      text: `found a tensor whose array was transferred away for ${role} "${name}", expected its memory`,
    });
  return native;
};

/** Adds a fault for every given name that the model does not have, with the nearest one that it has. */
export const findUnknown = (
  role: string,
  given: Readonly<Record<string, unknown>>,
  known: { has(name: string): boolean; keys(): Iterable<string> },
  faults: Fault[],
): void => {
  for (const name of Object.keys(given)) {
    if (known.has(name)) continue;
    const near = didYouMean(name, known.keys());
    faults.push({
      type: "name",
      text: `found ${role} "${name}", expected one of the model's ${role}s${near === undefined ? "" : `. ${near}`}`,
    });
  }
};

const matches = (port: Port, native: NativeTensor, symbols: Map<string, number>): boolean =>
  port.shape.length === native.shape.length &&
  port.shape.every((expected, i) => {
    const found = native.shape[i] ?? 0;
    if (expected === null) return true;
    if (typeof expected === "number") return expected === found;
    const bound = symbols.get(expected);
    if (bound === undefined) symbols.set(expected, found);
    return bound === undefined || bound === found;
  });

/**
 * Adds a fault where a tensor has another dtype or shape than its port.
 *
 * @param symbols the sizes that named dimensions were found to have; shared by all ports of a run, and added to
 */
export const compare = (
  role: string,
  port: Port,
  native: NativeTensor,
  symbols: Map<string, number>,
  faults: Fault[],
): void => {
  const found = show(native.dtype, native.shape);
  if (native.dtype !== port.dtype)
    faults.push({
      type: "dtype",
      text: `found ${found} for ${role} "${port.name}", expected ${show(port.dtype, port.shape)}`,
    });
  else if (!matches(port, native, symbols)) {
    const bound = port.shape
      .filter((d) => typeof d === "string")
      .map((d) => `${d} = ${symbols.get(d) ?? "?"}`);
    faults.push({
      type: "shape",
      text: `found ${found} for ${role} "${port.name}", expected ${show(port.dtype, port.shape)}${bound.length > 0 ? ` with ${bound.join(", ")}` : ""}`,
    });
  }
};

/** What a session says of its input or output number `index`. @throws {RangeError} if it is no tensor of a known dtype */
export const readPort = (
  session: Handle<"Session">,
  index: number,
  direction: "Input" | "Output",
): Port => {
  const api = ort();
  const text = receive((out) =>
    api[`sessionGet${direction}Name`](session, index, defaultAllocator(), out),
  );
  const name = readText(text);
  api.allocatorFree(defaultAllocator(), text);
  const type = receive<Handle<"TypeInfo">>((out) =>
    api[`sessionGet${direction}TypeInfo`](session, index, out),
  );
  try {
    const info = receive<Handle<"TensorTypeAndShapeInfo">>((out) =>
      api.castTypeInfoToTensorInfo(type, out),
    );
    const number = info === 0n ? 0 : receiveInt((out) => api.getTensorElementType(info, out));
    const dtype = dtypeOfOnnx(number);
    if (dtype === undefined)
      throw new RangeError(
        `Cannot create a session: found element type ${number} for ${direction.toLowerCase()} "${name}", expected a tensor of a known dtype`,
      );
    const rank = receiveSize((out) => api.getDimensionsCount(info, out));
    const dims = new BigInt64Array(rank);
    const symbols = new BigUint64Array(rank);
    if (rank > 0) {
      api.getDimensions(info, dims, rank);
      api.getSymbolicDimensions(info, symbols, rank);
    }
    const shape = Array.from(dims, (d, i) =>
      d >= 0n ? Number(d) : readText(symbols[i] ?? 0n) || null,
    );
    return { name, dtype, shape };
  } finally {
    api.release.typeInfo(type);
  }
};
