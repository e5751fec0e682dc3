import { dtypes, type DType } from "../../src/core/dtype.js";

// The least of protobuf and ONNX that the runtime's tests need, apart from src/graph so that each can be wrong alone.

const varint = (value: number | bigint): number[] => {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  for (; rest > 0x7fn; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  bytes.push(Number(rest));
  return bytes;
};
const int = (field: number, value: number | bigint): Buffer =>
  Buffer.from([...varint(field << 3), ...varint(value)]);
const bytes = (field: number, value: string | Uint8Array): Buffer => {
  const content = Buffer.from(value as Uint8Array);
  return Buffer.concat([
    Buffer.from([...varint((field << 3) | 2), ...varint(content.length)]),
    content,
  ]);
};
const message = (field: number, ...parts: Buffer[]): Buffer => bytes(field, Buffer.concat(parts));

/** A number, a symbol, or null for a dimension of which nothing is said. */
export type Dimension = number | string | null;

export interface TinyPort {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly Dimension[];
}

export interface TinyNode {
  readonly op: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Integers only. */
  readonly attributes?: Readonly<Record<string, number>>;
  readonly domain?: string;
}

const valueInfo = (field: number, { name, dtype, shape }: TinyPort): Buffer => {
  const dims = shape.map((d) =>
    typeof d === "number"
      ? message(1, int(1, d))
      : message(1, ...(d === null ? [] : [bytes(2, d)])),
  );
  const tensorType = message(1, int(1, dtypes[dtype].onnx), message(2, ...dims));
  return message(field, bytes(1, name), message(2, tensorType));
};

const node = ({ op, inputs, outputs, attributes = {}, domain = "" }: TinyNode): Buffer =>
  message(
    1,
    ...inputs.map((name) => bytes(1, name)),
    ...outputs.map((name) => bytes(2, name)),
    bytes(4, op),
    ...Object.entries(attributes).map(([name, value]) =>
      message(5, bytes(1, name), int(3, value), int(20, 2)),
    ),
    bytes(7, domain),
  );

const externalInitializer = ({ name, dtype, shape }: TinyPort): Buffer => {
  const length = shape.reduce<number>((n, d) => n * Number(d), dtypes[dtype].bytes);
  const entry = (key: string, value: string): Buffer => message(13, bytes(1, key), bytes(2, value));
  return message(
    5,
    ...shape.map((d) => int(1, Number(d))),
    int(2, dtypes[dtype].onnx),
    bytes(8, name),
    entry("location", "weights"),
    entry("offset", "0"),
    entry("length", String(length)),
    int(14, 1),
  );
};

const inlineInitializer = ({ name, dtype, shape, data }: TinyPort & { data: Uint8Array }): Buffer =>
  message(
    5,
    ...shape.map((d) => int(1, Number(d))),
    int(2, dtypes[dtype].onnx),
    bytes(8, name),
    bytes(9, data),
  );

/** ModelProto bytes: opset 21 and com.microsoft 1; weights are external initializers, constants stand in the model. */
export const tinyModel = (model: {
  readonly inputs: readonly TinyPort[];
  readonly outputs: readonly TinyPort[];
  readonly nodes: readonly TinyNode[];
  readonly weights?: readonly TinyPort[];
  readonly constants?: readonly (TinyPort & { readonly data: Uint8Array })[];
}): Uint8Array => {
  const graph = message(
    7,
    ...model.nodes.map(node),
    bytes(2, "tiny"),
    ...(model.weights ?? []).map(externalInitializer),
    ...(model.constants ?? []).map(inlineInitializer),
    ...model.inputs.map((port) => valueInfo(11, port)),
    ...model.outputs.map((port) => valueInfo(12, port)),
  );
  const opset = (domain: string, version: number): Buffer =>
    message(8, bytes(1, domain), int(2, version));
  return new Uint8Array(
    Buffer.concat([int(1, 10), graph, opset("", 21), opset("com.microsoft", 1)]),
  );
};
