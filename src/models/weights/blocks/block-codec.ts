import type { Dim } from "../../../core/dim.js";
import { elementCount } from "../../../core/dtype.js";
import type { StoredCodec } from "../codec.js";
import { BlockBytes, BlockValues, type BlockFormat } from "./block-format.js";
import { kBlocks } from "./k-blocks.js";
import { smallBlocks } from "./small-blocks.js";

const rowOf = (shape: readonly Dim[], { size }: BlockFormat): readonly Dim[] => {
  const length = shape.at(-1);
  if (typeof length !== "number" || length % size !== 0)
    throw new RangeError(
      `Cannot decode rows of ${String(length)} elements: expected a multiple of ${String(size)}`,
    );
  return [...shape.slice(0, -1), length / size];
};

/**
 * Rows of blocks, as they stand in a GGUF file: the parts are tables over the same bytes, [..., blocks of a row, n].
 *
 * halves: float16, n = bytes / 2, some of which are no numbers but codes, and never read; bytes: uint8; codes: the same as int8.
 */
const blockCodec = (format: BlockFormat): StoredCodec => {
  const { name, size, bytes, signed } = format;
  return {
    name,
    byRow: true,
    byteLength: (shape) => (elementCount(shape) / size) * bytes,
    parts(shape) {
      const lead = rowOf(shape, format) as readonly number[];
      return [
        { suffix: ".halves", dtype: "float16", shape: [...lead, bytes / 2] },
        { suffix: ".bytes", dtype: "uint8", shape: [...lead, bytes] },
        ...(signed ? [{ suffix: ".codes", dtype: "int8", shape: [...lead, bytes] } as const] : []),
      ];
    },
    inGraph(g, [halves, all, codes], shape) {
      if (!halves || !all) throw new RangeError(`Cannot decode ${name}: found too few parts`);
      const values = format.inGraph(new BlockValues(g, { halves, bytes: all, codes }));
      return g.reshape(values, shape);
    },
    unpack([, all], shape) {
      const block = new BlockBytes(all as Uint8Array);
      const out = new Float32Array(elementCount(shape));
      for (let at = 0; at < out.length; at += size) {
        block.start = (at / size) * bytes;
        format.unpack(block, out, at);
      }
      return out;
    },
  };
};

/** ggml's block formats that can be computed with, by their names. */
export const blockCodecs: ReadonlyMap<string, StoredCodec> = new Map(
  [...smallBlocks, ...kBlocks].map((format) => [format.name, blockCodec(format)]),
);
