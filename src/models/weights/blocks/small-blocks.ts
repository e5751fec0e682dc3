import type { Value } from "../../../graph/op.js";
import type { BlockBytes, BlockFormat, BlockValues } from "./block-format.js";

const SIZE = 32;
const HALF = SIZE / 2;

/** Nibbles: the low ones of 16 bytes, then their high ones. */
const nibble = (block: BlockBytes, from: number, i: number): number =>
  i < HALF ? block.byte(from + i) & 15 : block.byte(from + i - HALF) >>> 4;

/** The fifth bits, which stand together in four bytes. */
const fifthBit = (block: BlockBytes, from: number, i: number): number =>
  (block.byte(from + (i >>> 3)) >>> (i & 7)) & 1;

const nibbles = (b: BlockValues, from: number): Value => b.fields(b.bytes(from, from + HALF), 4);

/** Nibbles with their fifth bits. */
const fiveBits = (b: BlockValues, high: number, low: number): Value => {
  const bytes = b.reshape(b.bytes(high, high + 4), 4, 1);
  const places = b.g.constant(
    "uint8",
    [8],
    Uint8Array.from({ length: 8 }, (_, i) => i),
  );
  const bits = b.reshape(b.mask(b.g.shiftRight(bytes, places), 1), SIZE);
  return b.or(nibbles(b, low), b.left(bits, 4));
};

interface SmallBlock {
  readonly name: string;
  readonly bytes: number;
  readonly signed?: boolean;
  /** value = d * (code - offset), or d * code + m where m is stored. */
  readonly offset: number | "stored";
  readonly code: (block: BlockBytes, i: number) => number;
  readonly codes: (b: BlockValues) => Value;
}

const { fround } = Math;

/** Formats in which every element has a code of its own, and a block one scale d, at its begin, and maybe one minimum m. */
const smallBlock = ({
  name,
  bytes,
  signed = false,
  offset,
  code,
  codes,
}: SmallBlock): BlockFormat => ({
  name,
  size: SIZE,
  bytes,
  signed,
  unpack(block, out, at) {
    const d = block.half(0);
    const m = offset === "stored" ? block.half(2) : 0;
    const less = offset === "stored" ? 0 : offset;
    for (let i = 0; i < SIZE; i++) {
      const product = d * (code(block, i) - less);
      out[at + i] = offset === "stored" ? fround(product) + m : product;
    }
  },
  inGraph(b) {
    const numbers = b.float(codes(b));
    if (offset === "stored") return b.g.add(b.g.mul(b.half(0), numbers), b.half(2));
    return b.g.mul(b.half(0), offset === 0 ? numbers : b.plus(numbers, -offset));
  },
});

/** Source: block_q4_0 ... block_q8_0 of ggml-common.h; dequantize_blocks of gguf 0.19. */
export const smallBlocks: readonly BlockFormat[] = [
  smallBlock({
    name: "Q4_0",
    bytes: 18,
    offset: 8,
    code: (block, i) => nibble(block, 2, i),
    codes: (b) => nibbles(b, 2),
  }),
  smallBlock({
    name: "Q4_1",
    bytes: 20,
    offset: "stored",
    code: (block, i) => nibble(block, 4, i),
    codes: (b) => nibbles(b, 4),
  }),
  smallBlock({
    name: "Q5_0",
    bytes: 22,
    offset: 16,
    code: (block, i) => nibble(block, 6, i) | (fifthBit(block, 2, i) << 4),
    codes: (b) => fiveBits(b, 2, 6),
  }),
  smallBlock({
    name: "Q5_1",
    bytes: 24,
    offset: "stored",
    code: (block, i) => nibble(block, 8, i) | (fifthBit(block, 4, i) << 4),
    codes: (b) => fiveBits(b, 4, 8),
  }),
  smallBlock({
    name: "Q8_0",
    bytes: 34,
    signed: true,
    offset: 0,
    code: (block, i) => block.signed(2 + i),
    codes: (b) => b.codes(2, 2 + SIZE),
  }),
];
