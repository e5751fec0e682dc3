import { FormatFault, type ByteCursor } from "./byte-cursor.js";

/** What GGUF's metadata hold. 64-bit integers are numbers where a double holds them. */
export type GgufValue = number | bigint | boolean | string | readonly GgufValue[];

/** Arrays in arrays; llama.cpp's own files have none. */
const deepest = 4;

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** @throws {FormatFault} on a length beyond the file's end, and on bytes that are not UTF-8 */
export const readText = (cursor: ByteCursor, what: string): string => {
  const length = cursor.count(`the length of ${what}`, 1);
  const at = cursor.position;
  const bytes = cursor.take(length, what);
  try {
    return utf8.decode(bytes);
  } catch {
    throw new FormatFault(`bytes that are not UTF-8 in ${what} at byte ${String(at)}`, "text");
  }
};

const narrowed = (value: bigint): number | bigint =>
  Number.isSafeInteger(Number(value)) ? Number(value) : value;

interface ValueKind {
  /** Of one value at least, in the file. */
  readonly leastBytes: number;
  readonly read: (cursor: ByteCursor, what: string, depth: number) => GgufValue;
}

/** A value of fixed size. */
const fixed = (bytes: number, read: (data: Buffer) => GgufValue): ValueKind => ({
  leastBytes: bytes,
  read: (cursor, what) => read(cursor.take(bytes, what)),
});

const arrayNumber = 9;

/** By the number of the type in the file. Source: enum gguf_metadata_value_type in ggml's docs/gguf.md. */
const kinds: ReadonlyMap<number, ValueKind> = new Map([
  [0, fixed(1, (data) => data.readUInt8())],
  [1, fixed(1, (data) => data.readInt8())],
  [2, fixed(2, (data) => data.readUInt16LE())],
  [3, fixed(2, (data) => data.readInt16LE())],
  [4, fixed(4, (data) => data.readUInt32LE())],
  [5, fixed(4, (data) => data.readInt32LE())],
  [6, fixed(4, (data) => data.readFloatLE())],
  [7, fixed(1, (data) => data.readUInt8() !== 0)],
  [8, { leastBytes: 8, read: readText }],
  [arrayNumber, { leastBytes: 12, read: (...args) => readArray(...args) }],
  [10, fixed(8, (data) => narrowed(data.readBigUInt64LE()))],
  [11, fixed(8, (data) => narrowed(data.readBigInt64LE()))],
  [12, fixed(8, (data) => data.readDoubleLE())],
]);

const readKind = (cursor: ByteCursor, what: string): ValueKind => {
  const at = cursor.position;
  const number = cursor.uint32(`the type of ${what}`);
  const kind = kinds.get(number);
  if (!kind)
    throw new FormatFault(
      `the value type ${String(number)} for ${what} at byte ${String(at)}`,
      `one from 0 to ${String(Math.max(...kinds.keys()))}`,
    );
  return kind;
};

const readArray = (cursor: ByteCursor, what: string, depth: number): readonly GgufValue[] => {
  if (depth >= deepest)
    throw new FormatFault(`arrays within arrays in ${what}`, `at most ${String(deepest)} levels`);
  const kind = readKind(cursor, `the elements of ${what}`);
  const count = cursor.count(`a count of elements of ${what}`, kind.leastBytes);
  const values: GgufValue[] = [];
  for (let i = 0; i < count; i++) values.push(kind.read(cursor, what, depth + 1));
  return values;
};

/** One value with its type. @throws {FormatFault} */
export const readValue = (cursor: ByteCursor, what: string): GgufValue =>
  readKind(cursor, what).read(cursor, what, 0);
