/**
 * A small decoder of TensorBoard event files, written from the formats' descriptions and sharing nothing with the
 * writer: bit-by-bit CRC, protocol buffers as plain field lists.
 */

/** One field of a protocol buffer message. */
export interface Field {
  readonly number: number;
  readonly value: number | Buffer;
}

const bitwiseCrc32c = (bytes: Buffer): bigint => {
  let crc = 0xffffffffn;
  for (const byte of bytes) {
    crc ^= BigInt(byte);
    for (let bit = 0; bit < 8; bit++) crc = crc & 1n ? (crc >> 1n) ^ 0x82f63b78n : crc >> 1n;
  }
  return crc ^ 0xffffffffn;
};

const unmask = (masked: bigint): bigint => {
  const rotated = (masked - 0xa282ead8n) & 0xffffffffn;
  return ((rotated << 15n) | (rotated >> 17n)) & 0xffffffffn;
};

/** The payloads of a TFRecord file; throws on a wrong checksum or a torn record. */
export const readRecords = (file: Buffer): Buffer[] => {
  const records: Buffer[] = [];
  for (let at = 0; at < file.length;) {
    const header = file.subarray(at, at + 8);
    const length = Number(header.readBigUInt64LE());
    const data = file.subarray(at + 12, at + 12 + length);
    for (const [bytes, crcAt] of [
      [header, at + 8],
      [data, at + 12 + length],
    ] as const)
      if (unmask(BigInt(file.readUInt32LE(crcAt))) !== bitwiseCrc32c(bytes))
        throw new Error(`wrong checksum at byte ${String(crcAt)}`);
    records.push(data);
    at += 16 + length;
  }
  return records;
};

export const readFields = (message: Buffer): Field[] => {
  const fields: Field[] = [];
  let at = 0;
  const varint = (): number => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = message.readUInt8(at++);
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return Number(value);
    }
  };
  while (at < message.length) {
    const key = varint();
    const number = Math.floor(key / 8);
    switch (key % 8) {
      case 0:
        fields.push({ number, value: varint() });
        break;
      case 1:
        fields.push({ number, value: message.readDoubleLE(at) });
        at += 8;
        break;
      case 2: {
        const length = varint();
        fields.push({ number, value: message.subarray(at, at + length) });
        at += length;
        break;
      }
      case 5:
        fields.push({ number, value: message.readFloatLE(at) });
        at += 4;
        break;
      default:
        throw new Error(`unknown wire type in key ${String(key)}`);
    }
  }
  return fields;
};

/** The only field of that number, which must be there. */
export const one = (fields: readonly Field[], number: number): number | Buffer => {
  const found = fields.filter((field) => field.number === number);
  const [first] = found;
  if (first === undefined || found.length > 1)
    throw new Error(`found ${String(found.length)} fields ${String(number)}, expected one`);
  return first.value;
};

export const nested = (fields: readonly Field[], number: number): Field[] => {
  const value = one(fields, number);
  if (!Buffer.isBuffer(value)) throw new Error(`field ${String(number)} is no message`);
  return readFields(value);
};
