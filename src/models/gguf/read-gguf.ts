import { closeSync, fstatSync, openSync, realpathSync } from "node:fs";
import { elementCount } from "../../core/dtype.js";
import { messageOf, UserError, userErrorOfFaults } from "../../core/errors.js";
import { findStandIn } from "../../core/stand-in.js";
import { ByteCursor, FormatFault } from "./byte-cursor.js";
import { ggmlTypes, type GgmlType } from "./ggml-types.js";
import { readText, readValue, type GgufValue } from "./gguf-values.js";

/** Where one tensor lies in a GGUF file. Nothing of it has been read. */
export interface GgufTensor {
  readonly name: string;
  readonly type: GgmlType;
  /** Slowest axis first, as everywhere here; GGUF itself has the fastest first. */
  readonly shape: readonly number[];
  /** The real path. */
  readonly file: string;
  /** From the start of the file. */
  readonly byteOffset: number;
  readonly byteLength: number;
}

/** The key-value pairs of a GGUF file, in its order. */
export type GgufMetadata = ReadonlyMap<string, GgufValue>;

/** The header of a GGUF file; no tensor's data is read for it. */
export interface GgufFile {
  /** The real path. */
  readonly path: string;
  readonly version: number;
  readonly metadata: GgufMetadata;
  /** In the order of the file's table. */
  readonly tensors: ReadonlyMap<string, GgufTensor>;
}

const magic = "GGUF";
const versions = [2, 3];
const mostAxes = 4;
const hint = "The file was cut off or damaged: fetch it again";

const readMetadata = (cursor: ByteCursor, count: number): GgufMetadata => {
  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < count; i++) {
    const key = readText(cursor, `key ${String(i + 1)} of ${String(count)}`);
    const value = readValue(cursor, `"${key}"`);
    if (metadata.has(key)) throw new FormatFault(`the key "${key}" twice`, "each key once");
    metadata.set(key, value);
  }
  return metadata;
};

/** A row of the table of tensors, as it stands there. */
interface Row {
  readonly name: string;
  readonly shape: readonly number[];
  readonly typeNumber: number;
  /** From the start of the data. */
  readonly offset: number;
}

const readTable = (cursor: ByteCursor, count: number): readonly Row[] => {
  const rows: Row[] = [];
  for (let i = 0; i < count; i++) {
    const name = readText(cursor, `the name of tensor ${String(i + 1)} of ${String(count)}`);
    const axes = cursor.uint32(`the number of axes of "${name}"`);
    if (axes > mostAxes)
      throw new FormatFault(`${String(axes)} axes for "${name}"`, `at most ${String(mostAxes)}`);
    const sizes = Array.from({ length: axes }, () => cursor.size64(`an axis of "${name}"`));
    const typeNumber = cursor.uint32(`the type of "${name}"`);
    const offset = cursor.size64(`the offset of "${name}"`);
    rows.push({ name, shape: sizes.reverse(), typeNumber, offset });
  }
  return rows;
};

const alignmentOf = (metadata: GgufMetadata): number => {
  const value = metadata.get("general.alignment") ?? 32;
  if (typeof value === "number" && value >= 1 && value <= 1 << 20 && (value & (value - 1)) === 0)
    return value;
  throw new FormatFault(
    `general.alignment ${String(value)}`,
    "a power of two of at most 1,048,576",
  );
};

/** Tensors with their places; what does not fit is a line of `faults`. */
const placeTensors = (
  rows: readonly Row[],
  {
    file,
    start,
    size,
    alignment,
  }: Record<"start" | "size" | "alignment", number> & { file: string },
  faults: string[],
): ReadonlyMap<string, GgufTensor> => {
  const tensors = new Map<string, GgufTensor>();
  for (const { name, shape, typeNumber, offset } of rows) {
    const fault = (text: string): void => void faults.push(`"${name}": ${text}`);
    const type = ggmlTypes.get(typeNumber);
    const rowLength = shape.at(-1) ?? 1;
    const count = elementCount(shape);
    if (!type) fault(`found the type ${String(typeNumber)}, expected one that llama.cpp writes`);
    else if (!Number.isSafeInteger(count))
      fault(`found the shape [${shape.join(", ")}], expected one that a file can hold`);
    else if (rowLength % type.blockSize !== 0)
      fault(
        `found rows of ${String(rowLength)} elements, expected a multiple of the ${String(type.blockSize)} of a block of ${type.name}`,
      );
    else if (offset % alignment !== 0)
      fault(`found the offset ${String(offset)}, expected a multiple of ${String(alignment)}`);
    else if (tensors.has(name)) fault("found twice, expected once");
    else {
      const byteLength = (count / type.blockSize) * type.blockBytes;
      const byteOffset = start + offset;
      if (byteOffset + byteLength > size)
        fault(
          `found its end at byte ${String(byteOffset + byteLength)}, expected at most ${String(size)}, the end of the file`,
        );
      tensors.set(name, { name, type, shape, file, byteOffset, byteLength });
    }
  }
  return tensors;
};

/** Two tensors over the same bytes would be one by mistake. */
const findOverlaps = (tensors: Iterable<GgufTensor>, faults: string[]): void => {
  const sorted = [...tensors]
    .filter(({ byteLength }) => byteLength > 0)
    .sort((a, b) => a.byteOffset - b.byteOffset);
  sorted.forEach(({ name, byteOffset }, i) => {
    const previous = sorted[i - 1];
    if (previous && previous.byteOffset + previous.byteLength > byteOffset)
      faults.push(`"${name}": found an overlap with "${previous.name}", expected none`);
  });
};

const parse = (cursor: ByteCursor, path: string, real: string): GgufFile => {
  const start = cursor.take(Math.min(4, cursor.size), "the first bytes").toString("latin1");
  if (start !== magic)
    throw new FormatFault(
      `a file that begins with ${JSON.stringify(start)}`,
      `a GGUF file, which begins with ${magic}`,
    );
  const version = cursor.uint32("the version");
  if (versions.some((known) => known * 2 ** 24 === version))
    throw new FormatFault("a big-endian file", "a little-endian one");
  if (!versions.includes(version))
    throw new FormatFault(`version ${String(version)}`, `version ${versions.join(" or ")}`);
  const tensorCount = cursor.count("a count of tensors", 24);
  const pairCount = cursor.count("a count of metadata", 13);
  const metadata = readMetadata(cursor, pairCount);
  const rows = readTable(cursor, tensorCount);
  const alignment = alignmentOf(metadata);
  const dataStart = Math.ceil(cursor.position / alignment) * alignment;
  const faults: string[] = [];
  const places = { file: real, start: dataStart, size: cursor.size, alignment };
  const tensors = placeTensors(rows, places, faults);
  if (faults.length === 0) findOverlaps(tensors.values(), faults);
  if (faults.length > 0) throw userErrorOfFaults(`Cannot read ${path}`, faults, hint);
  return { path: real, version, metadata, tensors };
};

/**
 * Reads and checks the header of one GGUF file, version 2 or 3: metadata and the table of tensors. The data are not read.
 *
 * Nothing in the file is trusted: counts, lengths, types, shapes and offsets are checked against each other and against the
 * file's size before anything is made of them.
 * Source: docs/gguf.md of ggml.
 * @throws {UserError} if the file is missing, cut off, inconsistent, big-endian or of another version
 */
export const readGguf = async (path: string): Promise<GgufFile> => {
  let real: string;
  let descriptor: number;
  try {
    real = realpathSync(path);
    descriptor = openSync(real, "r");
  } catch (error) {
    throw new UserError(`Cannot read ${path}: ${messageOf(error)}`);
  }
  try {
    const stats = fstatSync(descriptor);
    if (!stats.isFile())
      throw new UserError(`Cannot read ${path}: found no regular file, expected a GGUF file`);
    const standIn = await findStandIn(path);
    if (standIn) throw standIn;
    return parse(new ByteCursor(descriptor, stats.size), path, real);
  } catch (error) {
    if (!(error instanceof FormatFault)) throw error;
    throw new UserError(`Cannot read ${path}: ${error.message}`, hint);
  } finally {
    closeSync(descriptor);
  }
};
