/** A metadata value with the number of its type in a GGUF file. */
export type TypedValue =
  | { readonly uint32: number }
  | { readonly int32: number }
  | { readonly uint64: bigint }
  | { readonly float32: number }
  | { readonly bool: boolean }
  | { readonly text: string }
  | { readonly texts: readonly string[] }
  | { readonly int32s: readonly number[] }
  | { readonly float32s: readonly number[] };

/** A tensor for a GGUF file: its axes fastest first, as the file has them. */
export interface GgufTensorBytes {
  readonly name: string;
  readonly axes: readonly number[];
  /** The type's number in the file. */
  readonly type: number;
  readonly data: Uint8Array;
}

const uint32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};
const int32 = (value: number): Buffer => uint32(value >>> 0);
const uint64 = (value: bigint | number): Buffer => {
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
const list = <T>(type: number, values: readonly T[], encode: (value: T) => Buffer): Buffer =>
  Buffer.concat([uint32(9), uint32(type), uint64(values.length), ...values.map(encode)]);

const encodeValue = (value: TypedValue): Buffer => {
  if ("uint32" in value) return Buffer.concat([uint32(4), uint32(value.uint32)]);
  if ("int32" in value) return Buffer.concat([uint32(5), int32(value.int32)]);
  if ("uint64" in value) return Buffer.concat([uint32(10), uint64(value.uint64)]);
  if ("float32" in value) return Buffer.concat([uint32(6), float32(value.float32)]);
  if ("bool" in value) return Buffer.concat([uint32(7), Buffer.from([value.bool ? 1 : 0])]);
  if ("text" in value) return Buffer.concat([uint32(8), text(value.text)]);
  if ("texts" in value) return list(8, value.texts, text);
  if ("int32s" in value) return list(5, value.int32s, int32);
  return list(6, value.float32s, float32);
};

/** The bytes of a whole GGUF file. */
export const ggufBytes = ({
  metadata = {},
  tensors = [],
  version = 3,
  alignment = 32,
}: {
  readonly metadata?: Readonly<Record<string, TypedValue>>;
  readonly tensors?: readonly GgufTensorBytes[];
  readonly version?: number;
  readonly alignment?: number;
}): Buffer => {
  const pad = (length: number): Buffer =>
    Buffer.alloc((alignment - (length % alignment)) % alignment);
  const pairs = Object.entries(metadata);
  const parts = [
    Buffer.from("GGUF"),
    uint32(version),
    uint64(tensors.length),
    uint64(pairs.length),
  ];
  for (const [key, value] of pairs) parts.push(text(key), encodeValue(value));
  const data: Buffer[] = [];
  let offset = 0;
  for (const { name, axes, type, data: bytes } of tensors) {
    parts.push(text(name), uint32(axes.length), ...axes.map(uint64), uint32(type), uint64(offset));
    const padded = [Buffer.from(bytes), pad(bytes.length)];
    offset += padded.reduce((sum, { length }) => sum + length, 0);
    data.push(...padded);
  }
  const header = Buffer.concat(parts);
  return Buffer.concat([header, pad(header.length), ...data]);
};
