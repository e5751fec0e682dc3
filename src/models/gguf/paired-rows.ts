import { dtypes, elementCount, type DType } from "../../core/dtype.js";
import type { StoredCodec } from "../weights/codec.js";
import { turnedCodec, turnSizes } from "../weights/turned-codec.js";
import { toFloat32 } from "../weights/safetensors.js";

/** Plain elements as a codec, for what is stored in another order. */
export const plainCodec = (dtype: DType): StoredCodec => ({
  name: dtype,
  byRow: true,
  byteLength: (shape) => elementCount(shape) * dtypes[dtype].bytes,
  parts: (shape) => [{ suffix: ".stored", dtype, shape }],
  inGraph(g, [stored], shape) {
    if (!stored) throw new RangeError("Cannot decode plain elements: found no part");
    return g.reshape(g.cast(stored, "float32"), shape);
  },
  unpack: ([stored], shape) =>
    toFloat32(dtype, (stored ?? new Float32Array()).subarray(0, elementCount(shape))),
});

/**
 * Rows of queries or keys, whose rotary pairs stand side by side in each head: 0, half, 1, half + 1, ... of the order here, in
 * which the first elements of all pairs come before the second ones.
 *
 * Source: permute of llama.cpp's convert_hf_to_gguf.py.
 */
export const pairedRows = (inner: StoredCodec, heads: number): StoredCodec => ({
  ...inner,
  name: `${inner.name}, pairs of ${String(heads)} heads`,
  byRow: false,
  inGraph(g, parts, shape) {
    const [rows, ...rest] = shape as readonly number[];
    const width = elementCount(rest);
    const half = (rows ?? 0) / heads / 2;
    const pairs = g.reshape(inner.inGraph(g, parts, shape), [heads, half, 2, width]);
    return g.reshape(g.transpose(pairs, [0, 2, 1, 3]), shape);
  },
  unpack(parts, shape) {
    const stored = inner.unpack(parts, shape);
    const [rows = 0, ...rest] = shape;
    const width = elementCount(rest);
    const half = rows / heads / 2;
    const values = new Float32Array(stored.length);
    for (let row = 0; row < rows; row++) {
      const within = row % (2 * half);
      const from = row - within + (within % half) * 2 + Math.floor(within / half);
      values.set(stored.subarray(from * width, (from + 1) * width), row * width);
    }
    return values;
  },
});

/** A matrix that stands in the file with its axes exchanged: [out, in] for what is [in, out] here. */
export const turnedStored = (inner: StoredCodec): StoredCodec => ({
  ...turnedCodec(inner),
  byteLength: (shape) => inner.byteLength(turnSizes(shape)),
});

/** Numbers that stand in the file with one added to each, as Gemma's norms do. */
export const lessOne = (inner: StoredCodec): StoredCodec => ({
  ...inner,
  name: `${inner.name} less one`,
  byRow: false,
  inGraph: (g, parts, shape) => g.sub(inner.inGraph(g, parts, shape), g.scalar(1, "float32")),
  unpack: (parts, shape) => inner.unpack(parts, shape).map((value) => value - 1),
});

/** The way back: rows [heads * headDim, ...] in the order of transformers, as they stand in a file. */
export const pairRows = (
  values: Float32Array,
  shape: readonly number[],
  heads: number,
): Float32Array => {
  const [rows = 0, ...rest] = shape;
  const width = elementCount(rest);
  const half = rows / heads / 2;
  const paired = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    const within = row % (2 * half);
    const from = row - within + (within % 2) * half + Math.floor(within / 2);
    paired.set(values.subarray(from * width, (from + 1) * width), row * width);
  }
  return paired;
};
