import { elementCount } from "../../core/dtype.js";
import { UserError } from "../../core/errors.js";
import type { Graph } from "../../graph/graph.js";
import type { Value } from "../../graph/op.js";
import { Tensor } from "../../runtime/tensor.js";
import type { CodecPart, WeightCodec } from "./codec.js";
import {
  ABSMAX_BLOCK,
  BLOCK,
  dynamicTable,
  fourBitTables,
  quantizeAbsmax,
  quantizeFourBit,
  quantizeRows,
  type FourBitType,
  type QuantizedAbsmax,
} from "./quantize.js";

/** How a frozen matrix is held in fewer bits than a half: whole numbers row by row, or 4-bit codes in blocks. */
export type Packing =
  | { readonly kind: "int8" }
  | {
      readonly kind: "4bit";
      readonly type: FourBitType;
      /** Whether the absmax values are in 8 bits too. */
      readonly doubleQuant: boolean;
    };

/**
 * Rows into which the bytes of codes are cut for look-up: the kernel of GatherElements hands whole rows to threads. Any
 * number of blocks can be cut so.
 */
const LANES = 16;

interface BlockCounts {
  /** Blocks of 64 elements, with one of padding where that makes them even. */
  readonly blocks: number;
  /** Blocks of 256 absmax values. */
  readonly absmaxBlocks: number;
}

const countBlocks = (shape: readonly number[]): BlockCounts => {
  const blocks = 2 * Math.ceil(elementCount(shape) / BLOCK / 2);
  return { blocks, absmaxBlocks: Math.ceil(blocks / ABSMAX_BLOCK) };
};

/** The tensors that hold a matrix of `shape`. */
export const partsOf = (shape: readonly number[], packing: Packing): readonly CodecPart[] => {
  if (packing.kind === "int8")
    return [
      { suffix: ".int8", dtype: "int8", shape },
      { suffix: ".scale", dtype: "float32", shape: [shape[0] ?? 0, 1] },
    ];
  const { blocks, absmaxBlocks } = countBlocks(shape);
  const codes: CodecPart = {
    suffix: `.${packing.type}`,
    dtype: "uint8",
    shape: [LANES, (blocks * BLOCK) / 2 / LANES],
  };
  return packing.doubleQuant
    ? [
        codes,
        { suffix: ".absmax_codes", dtype: "uint8", shape: [absmaxBlocks * ABSMAX_BLOCK] },
        // The last one is the offset: ONNX Runtime's optimizers would read a tensor of one number while loading.
        { suffix: ".absmax_nested", dtype: "float32", shape: [absmaxBlocks + 1] },
      ]
    : [codes, { suffix: ".absmax", dtype: "float32", shape: [blocks, 1] }];
};

const padded = <Data extends Uint8Array | Float32Array>(data: Data, length: number): Data => {
  if (data.length === length) return data;
  const all = new (data.constructor as new (length: number) => Data)(length);
  all.set(data);
  return all;
};

/**
 * Two codes a byte: those of the first half of the elements are its high bits, those of the second half its low ones.
 *
 * So either half is one look-up, and both stand end to end; bitsandbytes pairs neighbours, which then have to be interleaved.
 */
const packHalves = (codes: Uint8Array, length: number): Uint8Array => {
  const half = length / 2;
  const bytes = new Uint8Array(half);
  for (let i = 0; i < half; i++) bytes[i] = ((codes[i] ?? 0) << 4) | (codes[half + i] ?? 0);
  return bytes;
};

/**
 * Quantizes one matrix. `name` is for the error.
 *
 * @returns its tensors in the order of partsOf
 * @throws {UserError} on a value that is not finite
 */
export const packWeight = (
  name: string,
  shape: readonly number[],
  values: Float32Array,
  packing: Packing,
): readonly Tensor[] => {
  const parts = partsOf(shape, packing);
  const tensors = (...data: readonly (Uint8Array | Int8Array | Float32Array)[]) =>
    parts.map(({ dtype, shape: size }, i) =>
      Tensor.fromArray(dtype, size, data[i] ?? new Uint8Array()),
    );
  const requireFinite = (absmax: Float32Array): void => {
    const odd = absmax.find((value) => !Number.isFinite(value));
    if (odd !== undefined)
      throw new UserError(
        `Cannot quantize "${name}": found ${String(odd)} among its values, expected finite numbers`,
        "Fetch the model's files again, or load it with --load_bit 16",
      );
  };
  if (packing.kind === "int8") {
    const { codes, absmax } = quantizeRows(values, shape[0] ?? 0);
    requireFinite(absmax);
    return tensors(
      codes,
      absmax.map((value) => value / 127),
    );
  }
  const { blocks, absmaxBlocks } = countBlocks(shape);
  const { codes, absmax } = quantizeFourBit(values, packing.type);
  requireFinite(absmax);
  const bytes = packHalves(codes, blocks * BLOCK);
  if (!packing.doubleQuant) return tensors(bytes, padded(absmax, blocks));
  const nested = quantizeAbsmax(absmax);
  return tensors(
    bytes,
    padded(nested.codes, absmaxBlocks * ABSMAX_BLOCK),
    Float32Array.of(...padded(nested.absmax, absmaxBlocks), nested.offset),
  );
};

/** The absmax of every block from its 8 bits: table[code] * nested absmax + offset. */
const unpackAbsmax = ({ codes, absmax, offset }: QuantizedAbsmax): Float32Array =>
  Float32Array.from(
    codes,
    (code, i) =>
      Math.fround((dynamicTable[code] ?? 0) * (absmax[Math.floor(i / ABSMAX_BLOCK)] ?? 0)) + offset,
  );

/** The matrix that packed tensors stand for, in float32: what unpackInGraph computes. */
export const unpackWeight = (
  parts: readonly Pick<Tensor, "data">[],
  shape: readonly number[],
  packing: Packing,
): Float32Array => {
  const data = parts.map((part) => part.data);
  const values = new Float32Array(elementCount(shape));
  if (packing.kind === "int8") {
    const [codes, scales] = data as [Int8Array, Float32Array];
    const columns = values.length / Math.max(1, scales.length);
    for (let i = 0; i < values.length; i++)
      values[i] = (codes[i] as number) * (scales[Math.floor(i / columns)] as number);
    return values;
  }
  const [bytes, statistics, nested = new Float32Array()] = data as [
    Uint8Array,
    Uint8Array | Float32Array,
    Float32Array | undefined,
  ];
  const absmax =
    statistics instanceof Float32Array
      ? statistics
      : unpackAbsmax({ codes: statistics, absmax: nested, offset: nested.at(-1) ?? 0 });
  const table = fourBitTables[packing.type];
  const half = bytes.length;
  for (let i = 0; i < values.length; i++) {
    const code = i < half ? (bytes[i] as number) >>> 4 : (bytes[i - half] as number) & 15;
    values[i] = (table[code] as number) * (absmax[Math.floor(i / BLOCK)] as number);
  }
  return values;
};

/** Look-up tables of one graph, which all its packed weights share. */
export interface Tables {
  /** By the code in the high bits of a byte, and by that in the low bits: [LANES, 256], every row the same. */
  readonly high: Value;
  readonly low: Value;
  /** The 256 numbers of an absmax code. */
  readonly absmax: Value;
}

/** The tables for `type` as constants of a graph. */
export const makeTables = (g: Graph, type: FourBitType): Tables => {
  const table = fourBitTables[type];
  const rows = (codeOf: (byte: number) => number) =>
    g.constant(
      "float32",
      [LANES, 256],
      Float32Array.from({ length: LANES * 256 }, (_, i) => table[codeOf(i % 256)] ?? 0),
    );
  return {
    high: rows((byte) => byte >>> 4),
    low: rows((byte) => byte & 15),
    absmax: g.constant("float32", [256], dynamicTable),
  };
};

/**
 * The float32 matrix [out, in] computed from its packed tensors, given in the order of partsOf.
 *
 * 4 bits: W = table[code] * absmax, with absmax = dynamic table[code] * nested absmax + offset under double quantization. The
 * two codes of a byte are looked up with the byte itself, in tables of 256 entries, so that no bits are shifted.
 * GatherElements is the look-up: 0.9 ns an element on one thread, where Gather, which copies slices, takes 4 to 8.
 * MatMulBnb4 of com.microsoft is no alternative: its CPU kernel gives wrong numbers for transB = 0, which the gradient of x
 * needs, without an error.
 */
export const unpackInGraph = (
  g: Graph,
  parts: readonly Value[],
  shape: readonly number[],
  packing: Packing,
  tables: (type: FourBitType) => Tables,
): Value => {
  const [codes, statistics, nested] = parts as readonly [Value, Value, Value];
  if (packing.kind === "int8") return g.mul(g.cast(codes, "float32"), statistics);
  const { blocks, absmaxBlocks } = countBlocks(shape);
  const { high, low, absmax: absmaxTable } = tables(packing.type);
  const absmaxValues = (): Value => {
    if (!packing.doubleQuant) return statistics;
    const found = g.gatherElements(absmaxTable, g.cast(statistics, "int32"), { axis: 0 });
    const nestedAbsmax = g.slice(nested, { axis: 0, start: 0, end: absmaxBlocks });
    const offset = g.slice(nested, { axis: 0, start: absmaxBlocks, end: absmaxBlocks + 1 });
    const scaled = g.mul(
      g.reshape(found, [absmaxBlocks, ABSMAX_BLOCK]),
      g.reshape(nestedAbsmax, [absmaxBlocks, 1]),
    );
    const all = g.reshape(g.add(scaled, offset), [absmaxBlocks * ABSMAX_BLOCK, 1]);
    return absmaxBlocks * ABSMAX_BLOCK === blocks
      ? all
      : g.slice(all, { axis: 0, start: 0, end: blocks });
  };
  const bytes = g.cast(codes, "int32");
  const half = (table: Value): Value => g.gatherElements(table, bytes, { axis: 1 });
  const numbers = g.concat([half(high), half(low)], 0);
  const values = g.mul(g.reshape(numbers, [blocks, BLOCK]), absmaxValues());
  const count = elementCount(shape);
  if (blocks * BLOCK === count) return g.reshape(values, shape);
  const flat = g.reshape(values, [blocks * BLOCK]);
  return g.reshape(g.slice(flat, { axis: 0, start: 0, end: count }), shape);
};

/** The tables of each graph, which all of its packed weights share. */
const tablesOfGraphs = new WeakMap<Graph, Map<FourBitType, Tables>>();

const tablesOf = (g: Graph, type: FourBitType): Tables => {
  const known = tablesOfGraphs.get(g) ?? new Map<FourBitType, Tables>();
  tablesOfGraphs.set(g, known);
  const tables = known.get(type) ?? makeTables(g, type);
  known.set(type, tables);
  return tables;
};

/** A packing as graphs read it. */
export const packedCodec = (packing: Packing): WeightCodec => ({
  name: JSON.stringify(packing),
  byRow: false,
  parts: (shape) => partsOf(shape, packing),
  inGraph: (g, parts, shape) =>
    unpackInGraph(g, parts, shape as readonly number[], packing, (type) => tablesOf(g, type)),
  unpack: (parts, shape) =>
    unpackWeight(
      parts.map((data) => ({ data })),
      shape,
      packing,
    ),
});
