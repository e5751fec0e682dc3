import { readFile } from "node:fs/promises";
import { messageOf, UserError } from "../core/errors.js";
import { crc32c } from "./crc32c.js";

/** A CRC of bytes that hold CRCs themselves is weak, so TFRecord rotates and shifts it. */
const maskedCrc = (bytes: Uint8Array): Buffer => {
  const crc = crc32c(bytes);
  const masked = Buffer.alloc(4);
  masked.writeUInt32LE((((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0);
  return masked;
};

/** TFRecord: length (8 bytes), its CRC, the data, their CRC; all little-endian. Source: tensorflow's record_writer.h. */
export const encodeRecord = (data: Buffer): Buffer => {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(data.length));
  return Buffer.concat([length, maskedCrc(length), data, maskedCrc(data)]);
};

/** One record as it stands in the file, and the event in it. */
interface StoredRecord {
  readonly bytes: Buffer;
  readonly event: Buffer;
}

/** The whole records of a file; what a kill has left behind them, a torn one, is left out. */
function* wholeRecords(file: Buffer): Iterable<StoredRecord> {
  for (let at = 0; at + 16 <= file.length;) {
    const length = Number(file.readBigUInt64LE(at));
    const end = at + 16 + length;
    if (end > file.length) return;
    const event = file.subarray(at + 12, end - 4);
    const isWhole =
      maskedCrc(file.subarray(at, at + 8)).equals(file.subarray(at + 8, at + 12)) &&
      maskedCrc(event).equals(file.subarray(end - 4, end));
    if (!isWhole) return;
    yield { bytes: file.subarray(at, end), event };
    at = end;
  }
}

/** The fields of a protocol buffer that events are made of, by number: numbers, and bytes of what is nested. */
const readFields = (message: Buffer): readonly (readonly [number, number | Buffer])[] => {
  const fields: (readonly [number, number | Buffer])[] = [];
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let scale = 1; ; scale *= 0x80) {
      const byte = message.readUInt8(at++);
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  };
  while (at < message.length) {
    const key = varint();
    const [number, type] = [Math.floor(key / 8), key % 8];
    if (type === 0) fields.push([number, varint()]);
    else {
      const length = type === 1 ? 8 : type === 5 ? 4 : varint();
      fields.push([number, message.subarray(at, at + length)]);
      at += length;
    }
  }
  return fields;
};

const nested = (message: Buffer, number: number): Buffer[] =>
  readFields(message).flatMap(([found, value]) =>
    found === number && Buffer.isBuffer(value) ? [value] : [],
  );

/** What an event is about. */
export interface EventFacts {
  /** 0 where the event has none. */
  readonly step: number;
  /** The curves and texts that it adds to. */
  readonly tags: readonly string[];
}

/** Event { step = 2, summary = 5 { value = 1 { tag = 1 } } }. Source: tensorboard's event.proto and summary.proto. */
const factsOf = (event: Buffer): EventFacts => {
  const step = readFields(event).find(([number]) => number === 2)?.[1];
  const values = nested(event, 5).flatMap((summary) => nested(summary, 1));
  return {
    step: typeof step === "number" ? step : 0,
    tags: values.flatMap((value) => nested(value, 1).map(String)),
  };
};

/**
 * The content of an event file without the events that `keep` refuses, and without a torn last one.
 *
 * @throws {UserError} if the file cannot be read
 */
export const filterEvents = async (
  path: string,
  keep: (facts: EventFacts) => boolean,
): Promise<Buffer> => {
  let file: Buffer;
  try {
    file = await readFile(path);
  } catch (error) {
    throw new UserError(`Cannot read ${path}: ${messageOf(error)}`);
  }
  return Buffer.concat(
    [...wholeRecords(file)].filter(({ event }) => keep(factsOf(event))).map(({ bytes }) => bytes),
  );
};
