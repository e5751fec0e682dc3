import type { DType } from "../../core/dtype.js";
import { bytesField, integerField, messageField } from "../../graph/onnx/protobuf.js";
import { dtypeOfOnnx, fields, submessages, type Field } from "../ort/external-initializers.js";
import type { Port } from "../ort/port.js";

// Field numbers of onnx.proto.
const modelGraph = 7;
const graphInitializer = 5;
const tensorName = 8;
const tensorExternalData = 13;

/** The location by which OpenVINO's ONNX frontend knows that an offset is an address. Source: its tensor_external_data.hpp. */
const addressLocation = "*/_ORT_MEM_ADDR_/*";

const textOf = (value: bigint | Uint8Array): string =>
  typeof value === "bigint" ? "" : Buffer.from(value).toString("utf8");

const readValueInfo = (bytes: Uint8Array): Port => {
  let name = "";
  let dtype: DType | undefined;
  let shape: (number | string | null)[] = [];
  for (const [number, value] of fields(bytes))
    if (number === 1) name = textOf(value);
    else if (number === 2)
      for (const tensor of submessages(value as Uint8Array, 1))
        for (const [at, content] of fields(tensor))
          if (at === 1) dtype = dtypeOfOnnx(Number(content));
          else if (at === 2)
            shape = submessages(content as Uint8Array, 1).map((dim) => {
              const [size] = fields(dim);
              if (!size) return null;
              return typeof size[1] === "bigint" ? Number(size[1]) : textOf(size[1]);
            });
  if (dtype === undefined)
    throw new RangeError(
      `Cannot create a session: found no known element type for "${name}", expected a tensor`,
    );
  return { name, dtype, shape };
};

/** Inputs and outputs as a model declares them, in its order. @throws {RangeError} if one is no tensor of a known dtype */
export const readPorts = (
  model: Uint8Array,
): { readonly inputs: readonly Port[]; readonly outputs: readonly Port[] } => {
  const [graph] = submessages(model, modelGraph);
  if (!graph) throw new RangeError("Cannot create a session: found a model without a graph");
  return {
    inputs: submessages(graph, 11).map(readValueInfo),
    outputs: submessages(graph, 12).map(readValueInfo),
  };
};

/** A field as it stands; none of a model, graph or tensor of ours is of a fixed width. */
const copiedField = ([number, value]: Field): Buffer =>
  typeof value === "bigint" ? integerField(number, value) : bytesField(number, value);

/** Where an initializer's elements stand. */
export interface MemoryRange {
  readonly address: bigint;
  readonly byteLength: number;
}

/**
 * The model with every external initializer pointed at memory of this process, which OpenVINO reads in place: the caller keeps it
 * alive as long as anything that is made of the bytes. Of several entries of one key in external_data the last one counts.
 *
 * @param rangeOf undefined for an initializer that stays as it is
 */
export const pointInitializers = (
  model: Uint8Array,
  rangeOf: (name: string) => MemoryRange | undefined,
): Uint8Array => {
  const entry = (key: string, value: string): Buffer =>
    messageField(tensorExternalData, [bytesField(1, key), bytesField(2, value)]);
  const point = (tensor: Uint8Array): Buffer => {
    const parts = [...fields(tensor)];
    const name = parts.find(([number]) => number === tensorName);
    const range = name && rangeOf(textOf(name[1]));
    if (!range) return bytesField(graphInitializer, tensor);
    return messageField(graphInitializer, [
      ...parts.filter(([number]) => number !== tensorExternalData).map(copiedField),
      entry("location", addressLocation),
      entry("offset", String(range.address)),
      entry("length", String(range.byteLength)),
    ]);
  };
  return Buffer.concat(
    [...fields(model)].map((field) => {
      const [number, value] = field;
      if (number !== modelGraph || typeof value === "bigint") return copiedField(field);
      return messageField(
        modelGraph,
        [...fields(value)].map((part) =>
          part[0] === graphInitializer && typeof part[1] !== "bigint"
            ? point(part[1])
            : copiedField(part),
        ),
      );
    }),
  );
};
