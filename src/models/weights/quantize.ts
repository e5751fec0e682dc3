/** Which 16 numbers a 4-bit code stands for. */
export const fourBitTypes = ["nf4", "fp4"] as const;
/** A 4-bit code; see fourBitTypes. */
export type FourBitType = (typeof fourBitTypes)[number];

/** Elements that share one absmax; the block of QLoRA, section 3. */
export const BLOCK = 64;
/** Absmax values that share one absmax of their own under double quantization. */
export const ABSMAX_BLOCK = 256;

/**
 * The 16 numbers by their codes, from -1 to 1.
 *
 * nf4: quantiles of the normal distribution with an exact zero, in rising order (QLoRA, appendix E). fp4: sign, two bits of
 * exponent and one of mantissa, divided by the largest; codes 0 and 8 are both zero.
 * Source: Dettmers et al., "QLoRA", NeurIPS 2023; get_4bit_type of bitsandbytes 0.50.2.
 */
export const fourBitTables: Readonly<Record<FourBitType, Float32Array>> = {
  nf4: Float32Array.of(
    ...[-1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453],
    ...[-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0],
    ...[0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224],
    ...[0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1],
  ),
  fp4: Float32Array.from(
    [0, 0.0625, 8, 12, 4, 6, 2, 3, 0, -0.0625, -8, -12, -4, -6, -2, -3],
    (number) => number / 12,
  ),
};

const { fround } = Math;

/** torch.linspace(0.1, 1, count) in float32, which counts up to the middle and down from the end. */
const linspace = (count: number): Float32Array => {
  const [start, end] = [fround(0.1), 1];
  const step = fround(fround(end - start) / (count - 1));
  return Float32Array.from({ length: count }, (_, i) =>
    i < count / 2 ? start + step * i : end - step * (count - 1 - i),
  );
};

const makeDynamicTable = (): Float32Array => {
  const exponentBits = 7;
  const numbers = [0, 1];
  for (let i = 0; i < exponentBits; i++) {
    const bounds = linspace(2 ** i + 1);
    const scale = fround(10 ** (i - exponentBits + 1));
    for (let j = 0; j + 1 < bounds.length; j++) {
      const middle = fround(fround((bounds[j] ?? 0) + (bounds[j + 1] ?? 0)) / 2);
      numbers.push(fround(scale * middle), -fround(scale * middle));
    }
  }
  return Float32Array.from(numbers).sort();
};

/**
 * The 256 numbers of the signed dynamic 8-bit type, rising from about -0.993 to 1.
 *
 * Source: Dettmers, "8-Bit Approximations for Parallelism in Deep Learning"; create_dynamic_map of bitsandbytes 0.50.2.
 */
export const dynamicTable: Float32Array = makeDynamicTable();

/** A table's numbers in rising order, the bounds between neighbours, and the code of each. */
interface Ladder {
  readonly bounds: Float32Array;
  readonly codes: Uint8Array;
}

const ladderOf = (table: Float32Array): Ladder => {
  const order = Array.from(table.keys()).sort((a, b) => (table[a] ?? 0) - (table[b] ?? 0) || a - b);
  const sorted = order.map((code) => table[code] ?? 0);
  return {
    bounds: Float32Array.from(sorted.slice(1), (high, i) => fround((sorted[i] ?? 0) + high) / 2),
    codes: Uint8Array.from(order),
  };
};

const ladders: Readonly<Record<FourBitType, Ladder>> = {
  nf4: ladderOf(fourBitTables.nf4),
  fp4: ladderOf(fourBitTables.fp4),
};
const dynamicLadder = ladderOf(dynamicTable);

/** How many of the rising bounds lie below x. */
const stepsBelow = (bounds: Float32Array, x: number): number => {
  let [low, high] = [0, bounds.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((bounds[middle] as number) < x) low = middle + 1;
    else high = middle;
  }
  return low;
};

const largestMagnitude = (values: Float32Array, from: number, to: number): number => {
  let most = 0;
  for (let i = from; i < to; i++) {
    const magnitude = Math.abs(values[i] as number);
    if (magnitude > most) most = magnitude;
    else if (Number.isNaN(magnitude)) return NaN;
  }
  return most;
};

/** Codes of values, one an element, and the absmax of each block of them. */
export interface Quantized<Codes extends Uint8Array | Int8Array = Uint8Array> {
  readonly codes: Codes;
  /** Not finite where the block's values are not. */
  readonly absmax: Float32Array;
}

/** The code nearest to value / absmax for every value, block by block; a block of zeros has absmax 0. */
const quantizeBlocks = (
  values: Float32Array,
  block: number,
  { bounds, codes: byStep }: Ladder,
): Quantized => {
  const codes = new Uint8Array(values.length);
  const absmax = new Float32Array(Math.ceil(values.length / block));
  for (let b = 0; b < absmax.length; b++) {
    const [from, to] = [b * block, Math.min(values.length, (b + 1) * block)];
    const most = largestMagnitude(values, from, to);
    absmax[b] = most;
    const scale = most === 0 ? 0 : fround(1 / most);
    for (let i = from; i < to; i++)
      codes[i] = byStep[stepsBelow(bounds, fround((values[i] as number) * scale))] as number;
  }
  return { codes, absmax };
};

/**
 * 4-bit codes of values in blocks of 64: value ~ table[code] * absmax of its block.
 *
 * Source: QLoRA, section 3; quantize_4bit of bitsandbytes 0.50.2, whose codes these are.
 */
export const quantizeFourBit = (values: Float32Array, type: FourBitType): Quantized =>
  quantizeBlocks(values, BLOCK, ladders[type]);

/** Absmax values in 8 bits: absmax ~ dynamicTable[code] * absmax of its 256 + offset. */
export interface QuantizedAbsmax extends Quantized {
  /** The mean of all absmax values, float32. */
  readonly offset: number;
}

/**
 * Double quantization: what is left of the absmax values without their mean, in blocks of 256 8-bit codes.
 *
 * Source: QLoRA, section 3; quantize_4bit with compress_statistics of bitsandbytes 0.50.2.
 */
export const quantizeAbsmax = (absmax: Float32Array): QuantizedAbsmax => {
  const offset = fround(absmax.reduce((sum, value) => sum + value, 0) / Math.max(1, absmax.length));
  const rest = absmax.map((value) => value - offset);
  return { ...quantizeBlocks(rest, ABSMAX_BLOCK, dynamicLadder), offset };
};

/**
 * Whole numbers from -127 to 127 of a matrix [rows, columns], row by row: value ~ code * absmax of its row / 127.
 *
 * Halves are rounded to the even number.
 * Source: Dettmers et al., "LLM.int8()", NeurIPS 2022; int8_vectorwise_quant of bitsandbytes 0.50.2 with threshold 0.
 */
export const quantizeRows = (values: Float32Array, rows: number): Quantized<Int8Array> => {
  const columns = rows === 0 ? 0 : values.length / rows;
  const codes = new Int8Array(values.length);
  const absmax = new Float32Array(rows);
  for (let row = 0; row < rows; row++) {
    const [from, to] = [row * columns, (row + 1) * columns];
    const most = largestMagnitude(values, from, to);
    absmax[row] = most;
    const scale = most === 0 ? 0 : fround(127 / most);
    for (let i = from; i < to; i++)
      codes[i] = roundHalfToEven(fround((values[i] as number) * scale));
  }
  return { codes, absmax };
};

/** Adding and taking away 1.5 * 2^52 leaves a double its whole part, rounded as IEEE 754 rounds. */
const roundHalfToEven = (x: number): number => x + 6755399441055744 - 6755399441055744;
