// A reader of ONNX files, apart from src/graph/onnx so that each can be wrong alone. Field numbers: onnx.proto.

interface Message {
  readonly numbers: ReadonlyMap<number, readonly bigint[]>;
  readonly bytes: ReadonlyMap<number, readonly Buffer[]>;
}

const readVarint = (bytes: Buffer, at: number): readonly [value: bigint, next: number] => {
  let value = 0n;
  for (let shift = 0n; ; shift += 7n, at++) {
    const byte = bytes.readUInt8(at);
    value |= BigInt(byte & 0x7f) << shift;
    if (byte < 0x80) return [BigInt.asIntN(64, value), at + 1];
  }
};

/** Splits a message into its fields: varints, and what has a length or is 4 bytes long. */
const readMessage = (content: Uint8Array): Message => {
  const bytes = Buffer.from(content.buffer, content.byteOffset, content.byteLength);
  const numbers = new Map<number, bigint[]>();
  const parts = new Map<number, Buffer[]>();
  const push = <T>(table: Map<number, T[]>, field: number, item: T): void => {
    table.set(field, [...(table.get(field) ?? []), item]);
  };
  for (let at = 0; at < bytes.length;) {
    const [tag, afterTag] = readVarint(bytes, at);
    const [field, wireType] = [Number(tag >> 3n), Number(tag & 7n)];
    if (wireType === 0) {
      const [value, next] = readVarint(bytes, afterTag);
      push(numbers, field, value);
      at = next;
      continue;
    }
    if (wireType !== 2 && wireType !== 5) throw new RangeError(`wire type ${wireType}`);
    const [length, start] = wireType === 5 ? [4n, afterTag] : readVarint(bytes, afterTag);
    at = start + Number(length);
    if (at > bytes.length) throw new RangeError(`field ${field} ends after its message`);
    push(parts, field, bytes.subarray(start, at));
  }
  return { numbers, bytes: parts };
};

const texts = (message: Message, field: number): readonly string[] =>
  (message.bytes.get(field) ?? []).map((content) => content.toString("utf8"));
const text = (message: Message, field: number): string => texts(message, field)[0] ?? "";
const number = (message: Message, field: number): number =>
  Number(message.numbers.get(field)?.[0] ?? 0n);
const messages = (message: Message, field: number): readonly Message[] =>
  (message.bytes.get(field) ?? []).map(readMessage);
const packed = (content: Buffer | undefined): readonly number[] => {
  const values: number[] = [];
  for (let at = 0; content && at < content.length;) {
    const [value, next] = readVarint(content, at);
    values.push(Number(value));
    at = next;
  }
  return values;
};

export interface OnnxNode {
  readonly name: string;
  readonly opType: string;
  readonly domain: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, number | string | readonly number[]>>;
}

export interface OnnxTensor {
  readonly name: string;
  /** TensorProto.DataType */
  readonly dataType: number;
  readonly dims: readonly number[];
  readonly raw: Buffer | undefined;
  /** The entries of external_data, where data_location is EXTERNAL. */
  readonly external: Readonly<Record<string, string>> | undefined;
}

export interface OnnxPort {
  readonly name: string;
  readonly dataType: number;
  readonly dims: readonly (number | string)[];
}

export interface OnnxModel {
  readonly irVersion: number;
  readonly opsets: Readonly<Record<string, number>>;
  readonly nodes: readonly OnnxNode[];
  readonly initializers: readonly OnnxTensor[];
  readonly inputs: readonly OnnxPort[];
  readonly outputs: readonly OnnxPort[];
  /** Of values that are neither inputs nor outputs, where the file says their shapes. */
  readonly values: readonly OnnxPort[];
}

const readAttribute = (
  message: Message,
): readonly [string, number | string | readonly number[]] => {
  const kind = number(message, 20);
  const name = text(message, 1);
  if (kind === 1) return [name, message.bytes.get(2)?.[0]?.readFloatLE() ?? NaN];
  if (kind === 2) return [name, number(message, 3)];
  if (kind === 3) return [name, text(message, 4)];
  if (kind === 7) return [name, packed(message.bytes.get(8)?.[0])];
  throw new RangeError(`attribute ${name} of kind ${kind}`);
};

const readNode = (message: Message): OnnxNode => ({
  name: text(message, 3),
  opType: text(message, 4),
  domain: text(message, 7),
  inputs: texts(message, 1),
  outputs: texts(message, 2),
  attributes: Object.fromEntries(messages(message, 5).map(readAttribute)),
});

const readTensor = (message: Message): OnnxTensor => ({
  name: text(message, 8),
  dataType: number(message, 2),
  dims: packed(message.bytes.get(1)?.[0]),
  raw: message.bytes.get(9)?.[0],
  external:
    number(message, 14) === 1
      ? Object.fromEntries(messages(message, 13).map((entry) => [text(entry, 1), text(entry, 2)]))
      : undefined,
});

const readPort = (message: Message): OnnxPort => {
  const [type] = messages(message, 2).flatMap((outer) => messages(outer, 1));
  const dims = type ? messages(type, 2).flatMap((shape) => messages(shape, 1)) : [];
  return {
    name: text(message, 1),
    dataType: type ? number(type, 1) : 0,
    dims: dims.map((dim) => (dim.bytes.has(2) ? text(dim, 2) : number(dim, 1))),
  };
};

/** What ModelProto bytes say. @throws {RangeError} on bytes that are no protobuf message */
export const readOnnx = (bytes: Uint8Array): OnnxModel => {
  const model = readMessage(bytes);
  const [graph] = messages(model, 7);
  if (!graph) throw new RangeError("no graph");
  return {
    irVersion: number(model, 1),
    opsets: Object.fromEntries(
      messages(model, 8).map((opset) => [text(opset, 1), number(opset, 2)]),
    ),
    nodes: messages(graph, 1).map(readNode),
    initializers: messages(graph, 5).map(readTensor),
    inputs: messages(graph, 11).map(readPort),
    outputs: messages(graph, 12).map(readPort),
    values: messages(graph, 13).map(readPort),
  };
};
