import { writeFileAtomically } from "../../core/atomic-file.js";
import { elementCount } from "../../core/dtype.js";
import { ggmlTypes, type GgmlType } from "./ggml-types.js";

/** A metadata value with its type in the file. */
export type GgufTyped =
  | { readonly uint32: number }
  | { readonly float32: number }
  | { readonly bool: boolean }
  | { readonly text: string }
  | { readonly texts: readonly string[] }
  | { readonly int32s: readonly number[] }
  | { readonly float32s: readonly number[] };

/** Keys with their values, in the order of the file. */
export type GgufEntries = readonly (readonly [key: string, value: GgufTyped])[];

/** The types that tensors are written in. */
export type GgufStorage = "F32" | "F16" | "BF16" | "Q8_0";

/** A tensor to write. `data` is called once, when its turn comes. */
export interface GgufTensorToWrite {
  readonly name: string;
  readonly type: GgufStorage;
  /** Slowest axis first, as everywhere here. */
  readonly shape: readonly number[];
  /** The bytes as they stand in the file. */
  readonly data: () => Promise<Uint8Array>;
}

/** What stands in a GGUF file. */
export interface GgufToWrite {
  readonly metadata: GgufEntries;
  readonly tensors: readonly GgufTensorToWrite[];
}

const alignment = 32;
const padded = (bytes: number): number => Math.ceil(bytes / alignment) * alignment;

const uint32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};
const int32 = (value: number): Buffer => uint32(value >>> 0);
const uint64 = (value: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
};
const float32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes;
};
const text = (value: string): Buffer => {
  const bytes = Buffer.from(value);
  return Buffer.concat([uint64(bytes.length), bytes]);
};
const list = <T>(kind: number, values: readonly T[], encode: (value: T) => Buffer): Buffer =>
  Buffer.concat([uint32(9), uint32(kind), uint64(values.length), ...values.map(encode)]);

/** Numbers of the types as in gguf-values.ts. */
const encodeValue = (value: GgufTyped): Buffer => {
  if ("uint32" in value) return Buffer.concat([uint32(4), uint32(value.uint32)]);
  if ("float32" in value) return Buffer.concat([uint32(6), float32(value.float32)]);
  if ("bool" in value) return Buffer.concat([uint32(7), Buffer.from([value.bool ? 1 : 0])]);
  if ("text" in value) return Buffer.concat([uint32(8), text(value.text)]);
  if ("texts" in value) return list(8, value.texts, text);
  if ("int32s" in value) return list(5, value.int32s, int32);
  return list(6, value.float32s, float32);
};

const typeByName = new Map<string, readonly [number: number, type: GgmlType]>(
  [...ggmlTypes].map(([number, type]) => [type.name, [number, type]]),
);

const storageOf = (name: GgufStorage): readonly [number: number, type: GgmlType] => {
  const found = typeByName.get(name);
  if (!found) throw new RangeError(`Cannot write ${name}: ggml has no such type`);
  return found;
};

/** Bytes of a tensor in the file, before they are padded. */
const byteLengthOf = ({ type, shape }: Pick<GgufTensorToWrite, "type" | "shape">): number => {
  const [, { blockSize, blockBytes }] = storageOf(type);
  return (elementCount(shape) / blockSize) * blockBytes;
};

const headerOf = ({ metadata, tensors }: GgufToWrite): Buffer => {
  const parts = [Buffer.from("GGUF"), uint32(3), uint64(tensors.length), uint64(metadata.length)];
  for (const [key, value] of metadata) parts.push(text(key), encodeValue(value));
  let offset = 0;
  for (const tensor of tensors) {
    const { name, shape, type } = tensor;
    const axes = [...shape].reverse().map(uint64);
    parts.push(text(name), uint32(axes.length), ...axes);
    parts.push(uint32(storageOf(type)[0]), uint64(offset));
    offset += padded(byteLengthOf(tensor));
  }
  const header = Buffer.concat(parts);
  return Buffer.concat([header, Buffer.alloc(padded(header.length) - header.length)]);
};

/** How many bytes the file will have. */
export const ggufByteLength = (file: GgufToWrite): number =>
  file.tensors.reduce((sum, tensor) => sum + padded(byteLengthOf(tensor)), headerOf(file).length);

/**
 * Writes a GGUF file of version 3 atomically, one tensor at a time.
 *
 * Source: docs/gguf.md of ggml.
 * @throws {UserError} if the file cannot be written; what `data` throws is passed on
 * @throws {RangeError} if a tensor's bytes are not as many as its shape and type say
 */
export const writeGguf = async (path: string, file: GgufToWrite): Promise<void> => {
  const names = new Set(file.tensors.map(({ name }) => name));
  if (names.size < file.tensors.length)
    throw new RangeError(`Cannot write ${path}: found one name for several tensors`);
  await writeFileAtomically(
    path,
    (async function* () {
      yield headerOf(file);
      for (const tensor of file.tensors) {
        const data = await tensor.data();
        const length = byteLengthOf(tensor);
        if (data.byteLength !== length)
          throw new RangeError(
            `Cannot write "${tensor.name}": found ${String(data.byteLength)} bytes, expected ${String(length)}`,
          );
        yield data;
        yield Buffer.alloc(padded(length) - length);
      }
    })(),
  );
};
