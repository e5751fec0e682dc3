import type { FileHandle } from "node:fs/promises";
import { open, realpath } from "node:fs/promises";
import { writeFileAtomically } from "../../core/atomic-file.js";
import type { DType, TypedArray } from "../../core/dtype.js";
import { dtypes, elementCount, isFloat } from "../../core/dtype.js";
import { messageOf, UserError, userErrorOfFaults } from "../../core/errors.js";
import { narrowFloat32, widenBfloat16, widenFloat16 } from "../../core/half.js";
import type { JsonObject } from "../../core/json-file.js";
import { quoteJson } from "../../core/json-file.js";
import { isJsonObject } from "../../core/json.js";
import { findStandIn } from "../../core/stand-in.js";
import type { StoredCodec } from "./codec.js";
import { readFully } from "./read-fully.js";

/** Where one tensor lies in a safetensors file. Nothing of it has been read. */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** The real path: the Hub's cache is full of symbolic links, which ONNX Runtime refuses to follow. */
  readonly file: string;
  /** From the start of the file; safetensors promises no alignment. */
  readonly byteOffset: number;
  readonly byteLength: number;
  /** Set where the bytes are no plain elements (GGUF): how those follow from them. `dtype` is what they fit into. */
  readonly codec?: StoredCodec;
}

/** The header of a safetensors file: where its tensors lie. */
export interface SafetensorsFile {
  /** The real path. */
  readonly path: string;
  /** By name, in the order in which the tensors lie in the file. */
  readonly entries: ReadonlyMap<string, TensorEntry>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** A tensor to write. `data` may be a function, called once when its turn comes, so that no two need be in memory. */
export interface TensorToWrite {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: TypedArray | (() => TypedArray | Promise<TypedArray>);
}

/** The limit of Hugging Face's own reader, in bytes. */
const maxHeaderBytes = 100_000_000;

const dtypeBySafetensorsName = new Map<unknown, DType>(
  (Object.keys(dtypes) as DType[]).map((dtype) => [dtypes[dtype].safetensors, dtype]),
);

const isSize = (value: unknown): value is number =>
  Number.isSafeInteger(value) && Number(value) >= 0;

const isShape = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every(isSize) && isSize(elementCount(value));

const isRange = (value: unknown): value is [begin: number, end: number] =>
  Array.isArray(value) &&
  value.length === 2 &&
  value.every(isSize) &&
  Number(value[0]) <= Number(value[1]);

/** The keys of the outermost object of `json`, which is known to be valid, with those that JSON.parse would drop. */
const outermostKeys = (json: string): string[] => {
  const keys: string[] = [];
  let depth = 0;
  // Strings, and the marks that change the depth; everything else is skipped.
  for (const match of json.matchAll(/"(?:[^"\\]|\\.)*"|[[\]{}]/g)) {
    const token = match[0];
    if (token === "{" || token === "[") depth++;
    else if (token === "}" || token === "]") depth--;
    else if (
      depth === 1 &&
      /^\s*:/.test(json.slice(match.index + token.length, match.index + token.length + 8))
    )
      keys.push(JSON.parse(token) as string);
  }
  return keys;
};

const duplicatesOf = (names: readonly string[]): string[] => {
  const seen = new Set<string>();
  return [...new Set(names.filter((name) => seen.size === seen.add(name).size))];
};

const checkMetadata = (value: unknown, faults: string[]): Record<string, string> => {
  const metadata: Record<string, string> = {};
  if (value === undefined) return metadata;
  if (!isJsonObject(value)) {
    faults.push(`"__metadata__": found ${quoteJson(value)}, expected an object`);
    return metadata;
  }
  for (const [key, text] of Object.entries(value)) {
    if (typeof text === "string") metadata[key] = text;
    else faults.push(`"__metadata__": found ${quoteJson(text)} for "${key}", expected text`);
  }
  return metadata;
};

/** One tensor of the header; faults are added to `faults` and leave undefined. */
const checkTensor = (
  name: string,
  value: unknown,
  data: { readonly file: string; readonly start: number; readonly byteLength: number },
  faults: string[],
): TensorEntry | undefined => {
  const before = faults.length;
  const fault = (text: string): void => void faults.push(`"${name}": ${text}`);
  if (!isJsonObject(value)) {
    fault(`found ${quoteJson(value)}, expected an object`);
    return undefined;
  }
  const { shape, data_offsets: offsets } = value;
  const dtype = dtypeBySafetensorsName.get(value.dtype);
  if (dtype === undefined)
    fault(
      `found dtype ${quoteJson(value.dtype)}, expected one of ${[...dtypeBySafetensorsName.keys()].join(", ")}`,
    );
  if (!isShape(shape)) fault(`found shape ${quoteJson(shape)}, expected a list of sizes`);
  if (!isRange(offsets))
    fault(`found data_offsets ${quoteJson(offsets)}, expected [begin, end] with 0 <= begin <= end`);
  if (dtype === undefined || !isShape(shape) || !isRange(offsets)) return undefined;

  const [begin, end] = offsets;
  const expected = elementCount(shape) * dtypes[dtype].bytes;
  if (end - begin !== expected)
    fault(
      `found ${String(end - begin)} bytes of data, expected ${String(expected)} for ${dtypes[dtype].safetensors} ${quoteJson(shape)}`,
    );
  if (end > data.byteLength)
    fault(
      `found its end at byte ${String(end)} of the data, expected at most ${String(data.byteLength)}`,
    );
  if (faults.length > before) return undefined;
  return {
    name,
    dtype,
    shape,
    file: data.file,
    byteOffset: data.start + begin,
    byteLength: expected,
  };
};

/** Of a file that ends too early: where, and what is behind its end; undefined for any other. */
const cutOff = (
  header: JsonObject,
  data: { readonly start: number; readonly byteLength: number },
): string | undefined => {
  const ends = Object.entries(header).flatMap(([name, value]) => {
    const offsets = isJsonObject(value) ? value.data_offsets : undefined;
    return name !== "__metadata__" && isRange(offsets) ? [{ name, offsets }] : [];
  });
  const lost = ends
    .filter(({ offsets: [, end] }) => end > data.byteLength)
    .sort((a, b) => a.offsets[0] - b.offsets[0]);
  const [first] = lost;
  if (!first) return undefined;
  const end = lost.reduce((most, { offsets }) => Math.max(most, offsets[1]), 0);
  return `In common: the file ends at byte ${String(data.start + data.byteLength)} of ${String(data.start + end)}, and ${String(lost.length)} of its ${String(ends.length)} tensors, from "${first.name}" on, reach beyond that`;
};

/** Tensors must follow one another without overlap, gap or rest: two readers could otherwise see two different files. */
const checkLayout = (
  sorted: readonly TensorEntry[],
  data: { readonly start: number; readonly byteLength: number },
  faults: string[],
): void => {
  let end = data.start;
  let previous = "the header";
  for (const { name, byteOffset, byteLength } of sorted) {
    if (byteOffset < end)
      faults.push(
        `"${name}": found an overlap of ${String(end - byteOffset)} bytes with ${previous}, expected none`,
      );
    else if (byteOffset > end)
      faults.push(
        `"${name}": found a gap of ${String(byteOffset - end)} bytes after ${previous}, expected none`,
      );
    end = Math.max(end, byteOffset + byteLength);
    previous = `"${name}"`;
  }
  const rest = data.start + data.byteLength - end;
  if (rest > 0)
    faults.push(`found ${String(rest)} bytes after ${previous}, expected the end of the file`);
};

const readHeaderText = async (file: FileHandle, path: string, size: number): Promise<string> => {
  const refuse = (found: string, expected: string): UserError =>
    new UserError(
      `Cannot read weights from ${path}: found ${found}, expected ${expected}`,
      "The file is no safetensors file or was cut off: fetch it again",
    );
  if (size < 8)
    throw refuse(`${String(size)} bytes`, "at least the 8 bytes of the header's length");
  const length = new DataView(await readFully(file, 0, 8, path)).getBigUint64(0, true);
  const room = BigInt(Math.min(size - 8, maxHeaderBytes));
  if (length > room) throw refuse(`a header of ${String(length)} bytes`, `at most ${String(room)}`);
  const bytes = await readFully(file, 8, Number(length), path);
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw refuse("a header that is not UTF-8", "JSON");
  }
};

/**
 * Reads and checks the header of a safetensors file; the data are not read.
 *
 * Nothing in the file is trusted: lengths, dtypes, shapes and offsets are checked against each other and against the
 * file's size, and all faults are reported at once.
 * Source: the format's description in the README of huggingface/safetensors.
 * @throws {UserError} if the file is missing, cut off or inconsistent
 */
export const readSafetensorsHeader = async (path: string): Promise<SafetensorsFile> => {
  let real: string;
  let file: FileHandle;
  try {
    real = await realpath(path);
    file = await open(real, "r");
  } catch (error) {
    throw new UserError(`Cannot read weights from ${path}: ${messageOf(error)}`);
  }
  try {
    const stats = await file.stat();
    if (!stats.isFile())
      throw new UserError(
        `Cannot read weights from ${path}: found no regular file, expected a safetensors file`,
      );
    const standIn = await findStandIn(path);
    if (standIn) throw standIn;
    const text = await readHeaderText(file, path, stats.size);
    const task = `Cannot read weights from ${path}`;
    let header: unknown;
    try {
      header = JSON.parse(text);
    } catch (error) {
      throw new UserError(
        `${task}: found a header that is not JSON (${messageOf(error)}), expected JSON`,
        "The file is no safetensors file or was damaged: fetch it again",
      );
    }
    if (!isJsonObject(header))
      throw new UserError(
        `${task}: found a header with ${quoteJson(header)}, expected a JSON object`,
      );
    return checkHeader({ path, real, text, header, size: stats.size });
  } finally {
    await file.close();
  }
};

const checkHeader = (source: {
  readonly path: string;
  readonly real: string;
  readonly text: string;
  readonly header: JsonObject;
  readonly size: number;
}): SafetensorsFile => {
  const { path, real, text, header, size } = source;
  const start = 8 + Buffer.byteLength(text);
  const data = { file: real, start, byteLength: size - start };
  const faults = duplicatesOf(outermostKeys(text)).map(
    (name) => `"${name}": found more than once, expected once`,
  );
  const metadata = checkMetadata(header.__metadata__, faults);
  const names = Object.keys(header).filter((name) => name !== "__metadata__");
  const entries = names
    .map((name) => checkTensor(name, header[name], data, faults))
    .filter((entry) => entry !== undefined)
    .sort((a, b) => a.byteOffset - b.byteOffset || a.byteLength - b.byteLength);
  // The place of a faulty tensor is not known, so a gap would not be a second fault.
  if (entries.length === names.length) checkLayout(entries, data, faults);
  const narrow = faults.map((fault) => /found dtype "(F[468]_?\w*)"/.exec(fault)?.[1]);
  if (faults.length > 0 && narrow.every((dtype) => dtype !== undefined && dtype !== "F64"))
    throw new UserError(
      `Cannot read weights from ${path}: found weights that are quantized already (${[...new Set(narrow)].join(", ")}), expected float32, float16 or bfloat16`,
      "Give the original model; --load_bit=4 or --load_bit=8 quantizes it here",
    );
  if (faults.length > 0)
    throw userErrorOfFaults(
      `Cannot read weights from ${path}`,
      faults,
      "The file was cut off or damaged: fetch it again, or write it again with its program",
      cutOff(header, data),
    );
  return { path: real, entries: new Map(entries.map((entry) => [entry.name, entry])), metadata };
};

const readBytes = async (
  { name, file: path }: TensorEntry,
  byteOffset: number,
  byteLength: number,
): Promise<ArrayBuffer> => {
  let file: FileHandle;
  try {
    file = await open(path, "r");
  } catch (error) {
    throw new UserError(`Cannot read "${name}" from ${path}: ${messageOf(error)}`);
  }
  try {
    return await readFully(file, byteOffset, byteLength, path);
  } finally {
    await file.close();
  }
};

/** All elements of a tensor that its codec decodes; rounding to its dtype changes none of them. */
const readEncoded = async (entry: TensorEntry, codec: StoredCodec): Promise<TypedArray> => {
  const { dtype, shape, byteOffset, byteLength } = entry;
  const buffer = await readBytes(entry, byteOffset, byteLength);
  const parts = codec
    .parts(shape)
    .map((part) => new dtypes[part.dtype].array(buffer, 0, elementCount(part.shape)));
  const values = codec.unpack(parts, shape);
  return dtype === "bfloat16" || dtype === "float16" ? narrowFloat32(values, dtype) : values;
};

/**
 * Reads `count` of one tensor's elements, from element `first` on, into memory of their own.
 *
 * @throws {UserError} if the file has gone or become shorter since its header was read
 */
export const readTensorPart = async (
  entry: TensorEntry,
  first: number,
  count: number,
): Promise<TypedArray> => {
  if (entry.codec) return (await readEncoded(entry, entry.codec)).slice(first, first + count);
  const { array, bytes } = dtypes[entry.dtype];
  const buffer = await readBytes(entry, entry.byteOffset + first * bytes, count * bytes);
  return new array(buffer, 0, count);
};

/**
 * Reads one tensor's elements into memory of their own.
 *
 * @throws {UserError} if the file has gone or become shorter since its header was read
 */
export const readTensorData = (entry: TensorEntry): Promise<TypedArray> =>
  entry.codec
    ? readEncoded(entry, entry.codec)
    : readTensorPart(entry, 0, elementCount(entry.shape));

/** Elements of any float dtype as float32: exact for the half types, rounded for float64. */
export const toFloat32 = (dtype: DType, data: TypedArray): Float32Array => {
  if (!isFloat(dtype))
    throw new TypeError(`Cannot widen ${dtype} to float32: expected a float dtype`);
  if (data instanceof Float32Array) return data;
  if (data instanceof Float64Array) return Float32Array.from(data);
  if (!(data instanceof Uint16Array))
    throw new TypeError(`Cannot read ${dtype} from ${data.constructor.name}`);
  return dtype === "bfloat16" ? widenBfloat16(data) : widenFloat16(data);
};

/**
 * Reads one tensor of any float dtype as float32.
 *
 * @throws {UserError} if it holds integers, or the file has changed
 */
export const readTensorAsFloat32 = async (entry: TensorEntry): Promise<Float32Array> => {
  if (!isFloat(entry.dtype))
    throw new UserError(
      `Cannot load "${entry.name}" from ${entry.file}: found ${entry.dtype}, expected a float dtype`,
    );
  return toFloat32(entry.dtype, await readTensorData(entry));
};

/** All of a model's tensors in float32, by name. @throws {UserError} as readTensorAsFloat32 */
export const readTensorsAsFloat32 = async (
  entries: ReadonlyMap<string, TensorEntry>,
): Promise<ReadonlyMap<string, Float32Array>> => {
  const tensors = new Map<string, Float32Array>();
  for (const [name, entry] of entries) tensors.set(name, await readTensorAsFloat32(entry));
  return tensors;
};

const checkDataToWrite = ({ name, dtype, shape }: TensorToWrite, data: TypedArray): Uint8Array => {
  if (!(data instanceof dtypes[dtype].array))
    throw new TypeError(
      `Cannot write "${name}": found ${data.constructor.name}, expected ${dtypes[dtype].array.name}`,
    );
  if (data.length !== elementCount(shape))
    throw new RangeError(
      `Cannot write "${name}": found ${String(data.length)} elements, expected ${String(elementCount(shape))} for [${shape.join(", ")}]`,
    );
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
};

/**
 * Writes a safetensors file atomically, one tensor at a time.
 *
 * Tensors keep their order, except that wider elements come first: with a header padded to a multiple of 8 every tensor
 * is then aligned to its element size, although the format forbids gaps. Same tensors, same bytes.
 * @param metadata texts for `__metadata__`; transformers wants to see `format`
 * @throws {UserError} if the file cannot be written
 * @throws {RangeError} if two tensors have one name, or data and shape do not agree
 */
export const writeSafetensors = async (
  path: string,
  tensors: Iterable<TensorToWrite>,
  metadata: Readonly<Record<string, string>> = { format: "pt" },
): Promise<void> => {
  const sorted = [...tensors].sort((a, b) => dtypes[b.dtype].bytes - dtypes[a.dtype].bytes);
  const duplicates = duplicatesOf(sorted.map(({ name }) => name));
  if (duplicates.length > 0)
    throw new RangeError(`Cannot write ${path}: found "${duplicates.join('", "')}" twice`);

  // A null prototype, so that a tensor may have any name.
  const header = Object.create(null) as Record<string, unknown>;
  header.__metadata__ = metadata;
  let end = 0;
  for (const { name, dtype, shape } of sorted) {
    const begin = end;
    end += elementCount(shape) * dtypes[dtype].bytes;
    header[name] = { dtype: dtypes[dtype].safetensors, shape, data_offsets: [begin, end] };
  }
  const json = Buffer.from(JSON.stringify(header));
  const padded = Buffer.alloc(8 + Math.ceil(json.length / 8) * 8, " ");
  padded.writeBigUInt64LE(BigInt(padded.length - 8));
  json.copy(padded, 8);

  await writeFileAtomically(
    path,
    (async function* () {
      yield padded;
      for (const tensor of sorted) {
        const data = typeof tensor.data === "function" ? await tensor.data() : tensor.data;
        yield checkDataToWrite(tensor, data);
      }
    })(),
  );
};
