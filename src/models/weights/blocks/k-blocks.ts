import type { Value } from "../../../graph/op.js";
import type { BlockBytes, BlockFormat, BlockValues } from "./block-format.js";

const SIZE = 256;
const { fround } = Math;

/** Fields of `width` bits in groups of `group` bytes: element i's is in its group's byte i mod group, lowest field first. */
const field = (
  block: BlockBytes,
  from: number,
  i: number,
  width: number,
  group: number,
): number => {
  const perGroup = (8 / width) * group;
  const within = i % perGroup;
  const byte = block.byte(from + Math.floor(i / perGroup) * group + (within % group));
  return (byte >>> (Math.floor(within / group) * width)) & (2 ** width - 1);
};

/** The same fields of all elements: uint8 [...lead, SIZE]. */
const fields = (b: BlockValues, from: number, width: number, group: number): Value => {
  const bytes = (SIZE * width) / 8;
  const groups = b.reshape(b.bytes(from, from + bytes), bytes / group, group);
  return b.reshape(b.fields(groups, width), SIZE);
};

/** The 8 scales and 8 minima of six bits each in the 12 bytes of Q4_K and Q5_K. */
const sixBits = (block: BlockBytes, from: number, i: number): readonly [number, number] => {
  const [low, middle] = [block.byte(from + (i & 3)), block.byte(from + 4 + (i & 3))];
  if (i < 4) return [low & 63, middle & 63];
  const both = block.byte(from + 4 + i);
  return [(both & 15) | ((low >>> 2) & 48), (both >>> 4) | ((middle >>> 2) & 48)];
};

/** The same: uint8 [...lead, 8] each. */
const sixBitValues = (b: BlockValues, from: number): readonly [Value, Value] => {
  const [low, middle, both] = [0, 4, 8].map((at) => b.bytes(from + at, from + at + 4)) as [
    Value,
    Value,
    Value,
  ];
  const axis = low.shape.length - 1;
  const upper = (x: Value): Value => b.mask(b.right(x, 2), 48);
  return [
    b.g.concat([b.mask(low, 63), b.or(b.mask(both, 15), upper(low))], axis),
    b.g.concat([b.mask(middle, 63), b.or(b.right(both, 4), upper(middle))], axis),
  ];
};

/** The 16 scales of Q3_K: the low four bits of each in 8 bytes, the high two in 4. */
const signedScale = (block: BlockBytes, from: number, i: number): number => {
  const low = (block.byte(from + (i & 7)) >>> (i < 8 ? 0 : 4)) & 15;
  const high = (block.byte(from + 8 + (i & 3)) >>> ((i >>> 2) * 2)) & 3;
  return (low | (high << 4)) - 32;
};

/** Scales or minima [...lead, n] times their factor, one a group of elements: [...lead, n, 1]. */
const factors = (b: BlockValues, factor: Value, numbers: Value): Value => {
  const count = numbers.shape.at(-1) as number;
  return b.reshape(b.g.mul(factor, b.float(numbers)), count, 1);
};

/** Codes as numbers in groups: float32 [...lead, groups, SIZE / groups]. */
const grouped = (b: BlockValues, codes: Value, groups: number): Value =>
  b.reshape(b.float(codes), groups, SIZE / groups);

const q2k: BlockFormat = {
  name: "Q2_K",
  size: SIZE,
  bytes: 84,
  signed: false,
  unpack(block, out, at) {
    const [d, dmin] = [block.half(80), block.half(82)];
    for (let i = 0; i < SIZE; i++) {
      const scale = block.byte(i >>> 4);
      const product = fround(d * (scale & 15)) * field(block, 16, i, 2, 32);
      out[at + i] = fround(product) - fround(dmin * (scale >>> 4));
    }
  },
  inGraph(b) {
    const scales = b.bytes(0, 16);
    const codes = grouped(b, fields(b, 16, 2, 32), 16);
    return b.g.sub(
      b.g.mul(factors(b, b.half(80), b.mask(scales, 15)), codes),
      factors(b, b.half(82), b.right(scales, 4)),
    );
  },
};

const q3k: BlockFormat = {
  name: "Q3_K",
  size: SIZE,
  bytes: 110,
  signed: false,
  unpack(block, out, at) {
    const d = block.half(108);
    for (let i = 0; i < SIZE; i++) {
      const code = field(block, 32, i, 2, 32) | (field(block, 0, i, 1, 32) << 2);
      out[at + i] = fround(d * signedScale(block, 96, i >>> 4)) * (code - 4);
    }
  },
  inGraph(b) {
    const low = b.fields(b.bytes(96, 104), 4);
    const high = b.fields(b.bytes(104, 108), 2);
    const scales = b.plus(b.float(b.or(low, b.left(high, 4))), -32);
    const codes = b.or(fields(b, 32, 2, 32), b.left(fields(b, 0, 1, 32), 2));
    return b.g.mul(factors(b, b.half(108), scales), b.plus(grouped(b, codes, 16), -4));
  },
};

/** Q4_K and Q5_K: value = d * scale * code - dmin * minimum, in groups of 32. */
const minimumBlock = (
  name: string,
  bytes: number,
  code: (block: BlockBytes, i: number) => number,
  codes: (b: BlockValues) => Value,
): BlockFormat => ({
  name,
  size: SIZE,
  bytes,
  signed: false,
  unpack(block, out, at) {
    const [d, dmin] = [block.half(0), block.half(2)];
    for (let group = 0; group < 8; group++) {
      const [scale, minimum] = sixBits(block, 4, group);
      const [factor, less] = [fround(d * scale), fround(dmin * minimum)];
      for (let i = group * 32; i < group * 32 + 32; i++)
        out[at + i] = fround(factor * code(block, i)) - less;
    }
  },
  inGraph(b) {
    const [scales, minima] = sixBitValues(b, 4);
    return b.g.sub(
      b.g.mul(factors(b, b.half(0), scales), grouped(b, codes(b), 8)),
      factors(b, b.half(2), minima),
    );
  },
});

const q6k: BlockFormat = {
  name: "Q6_K",
  size: SIZE,
  bytes: 210,
  signed: true,
  unpack(block, out, at) {
    const d = block.half(208);
    for (let i = 0; i < SIZE; i++) {
      const code = field(block, 0, i, 4, 64) | (field(block, 128, i, 2, 32) << 4);
      out[at + i] = fround(d * block.signed(192 + (i >>> 4))) * (code - 32);
    }
  },
  inGraph(b) {
    const codes = b.or(fields(b, 0, 4, 64), b.left(fields(b, 128, 2, 32), 4));
    return b.g.mul(factors(b, b.half(208), b.codes(192, 208)), b.plus(grouped(b, codes, 16), -32));
  },
};

/** Source: block_q2_K ... block_q6_K of ggml-common.h; dequantize_blocks of gguf 0.19. */
export const kBlocks: readonly BlockFormat[] = [
  q2k,
  q3k,
  minimumBlock(
    "Q4_K",
    144,
    (block, i) => field(block, 16, i, 4, 32),
    (b) => fields(b, 16, 4, 32),
  ),
  minimumBlock(
    "Q5_K",
    176,
    (block, i) => field(block, 48, i, 4, 32) | (field(block, 16, i, 1, 32) << 4),
    (b) => b.or(fields(b, 48, 4, 32), b.left(fields(b, 16, 1, 32), 4)),
  ),
  q6k,
];
