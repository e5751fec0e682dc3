import { dtypes, type DType } from "../../core/dtype.js";

/** An initializer that the model leaves to whoever runs it: external_data of location "weights". */
export interface ExternalInitializer {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

const dtypeByNumber = new Map(
  Object.entries(dtypes).map(([name, { onnx }]) => [onnx, name as DType]),
);

/** The dtype of a TensorProto.DataType number, or undefined for one that no tensor of ours has. */
export const dtypeOfOnnx = (number: number): DType | undefined => dtypeByNumber.get(number);

// Field numbers of onnx.proto.
const modelGraph = 7;
const graphInitializer = 5;
const tensorDims = 1;
const tensorDataType = 2;
const tensorName = 8;
const tensorDataLocation = 14;
const locationExternal = 1n;

const varint = 0;
const fixed64 = 1;
const delimited = 2;
const fixed32 = 5;

/** A field of a protobuf message: its number, and a number's bits or the bytes of what is longer. */
export type Field = readonly [number: number, value: bigint | Uint8Array];

/** The fields of one protobuf message; nothing below it is read. @throws {RangeError} on bytes that are none */
export function* fields(bytes: Uint8Array): Generator<Field> {
  let at = 0;
  const readVarint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = bytes[at++];
      if (byte === undefined) break;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asIntN(64, value);
    }
    throw new RangeError(`found a number that does not end at byte ${at}`);
  };
  const take = (length: number): Uint8Array => {
    if (length < 0 || at + length > bytes.length)
      throw new RangeError(`found a field of ${length} bytes at byte ${at} of ${bytes.length}`);
    return bytes.subarray(at, (at += length));
  };
  while (at < bytes.length) {
    const key = Number(readVarint());
    const type = key & 7;
    if (type === varint) yield [key >>> 3, readVarint()];
    else if (type === fixed64) yield [key >>> 3, take(8)];
    else if (type === delimited) yield [key >>> 3, take(Number(readVarint()))];
    else if (type === fixed32) yield [key >>> 3, take(4)];
    else throw new RangeError(`found wire type ${type} at byte ${at}`);
  }
}

/** The bytes of every field `number` of a message. */
export const submessages = (bytes: Uint8Array, number: number): Uint8Array[] => {
  const found: Uint8Array[] = [];
  for (const [n, value] of fields(bytes))
    if (n === number && typeof value !== "bigint") found.push(value);
  return found;
};

const readInitializer = (bytes: Uint8Array): ExternalInitializer | undefined => {
  const shape: number[] = [];
  let [name, dataType, external] = ["", 0, false];
  for (const [number, value] of fields(bytes)) {
    if (typeof value === "bigint") {
      if (number === tensorDims) shape.push(Number(value));
      if (number === tensorDataType) dataType = Number(value);
      if (number === tensorDataLocation) external = value === locationExternal;
    } else if (number === tensorName) name = Buffer.from(value).toString("utf8");
    else if (number === tensorDims)
      // Packed: the same numbers, one after the other.
      for (let rest = value; rest.length > 0;) {
        const end = rest.findIndex((byte) => byte < 0x80) + 1;
        let dimension = 0n;
        rest.subarray(0, end).forEach((byte, i) => {
          dimension |= BigInt(byte & 0x7f) << BigInt(7 * i);
        });
        if (end === 0) throw new RangeError("found a dimension that does not end");
        shape.push(Number(dimension));
        rest = rest.subarray(end);
      }
  }
  if (!external) return undefined;
  const dtype = dtypeOfOnnx(dataType);
  if (dtype === undefined)
    throw new RangeError(`found data type ${dataType} for initializer "${name}"`);
  return { name, dtype, shape };
};

/**
 * The external initializers of a model's main graph, by name.
 *
 * ONNX Runtime trusts the memory that it is given for them, so their dtypes and shapes are compared before it sees it.
 * Source: onnx.proto, ModelProto.graph, GraphProto.initializer, TensorProto.
 *
 * @throws {RangeError} if the bytes are no ONNX model
 */
export const readExternalInitializers = (
  model: Uint8Array,
): ReadonlyMap<string, ExternalInitializer> => {
  try {
    const graphs = submessages(model, modelGraph);
    if (graphs.length === 0) throw new RangeError("found no graph");
    return new Map(
      graphs
        .flatMap((graph) => submessages(graph, graphInitializer))
        .flatMap((bytes) => {
          const initializer = readInitializer(bytes);
          return initializer === undefined ? [] : [[initializer.name, initializer] as const];
        }),
    );
  } catch (error) {
    throw new RangeError(
      `Cannot read a model of ${model.length} bytes: ${(error as Error).message}, expected an ONNX ModelProto`,
    );
  }
};
