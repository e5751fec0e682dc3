/** A field of a protocol-buffers message: number and encoded content. Source: protobuf.dev, "Encoding". */
const varint = (value: number | bigint): Buffer => {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  while (rest >= 0x80n) {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return Buffer.from(bytes);
};

const tag = (field: number, wireType: number): Buffer => varint((field << 3) | wireType);

/** An int32, int64, bool or enum, as varint (wire type 0). */
export const integerField = (field: number, value: number | bigint): Buffer =>
  Buffer.concat([tag(field, 0), varint(value)]);

/** A float: four bytes, the lowest first (wire type 5). */
export const floatField = (field: number, value: number): Buffer => {
  const content = Buffer.alloc(4);
  content.writeFloatLE(value);
  return Buffer.concat([tag(field, 5), content]);
};

/** A string, bytes, or an embedded message. */
export const bytesField = (field: number, content: string | Uint8Array): Buffer => {
  const bytes = typeof content === "string" ? Buffer.from(content, "utf8") : content;
  return Buffer.concat([tag(field, 2), varint(bytes.length), bytes]);
};

/** An embedded message from its fields' bytes (wire type 2). */
export const messageField = (field: number, parts: readonly Uint8Array[]): Buffer =>
  bytesField(field, Buffer.concat(parts));

/** Repeated integers in one field: varints one after another (wire type 2). */
export const packedIntegersField = (field: number, values: readonly number[]): Buffer =>
  bytesField(field, Buffer.concat(values.map(varint)));
