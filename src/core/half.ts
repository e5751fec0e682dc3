import type { DType, TypedArray } from "./dtype.js";

const word = new Float32Array(1);
const bits = new Uint32Array(word.buffer);

/** float32 -> bfloat16 bits, rounded to nearest, ties to even. NaN stays NaN. */
export const bfloat16FromFloat32 = (value: number): number => {
  word[0] = value;
  const b = bits[0] ?? 0;
  if ((b & 0x7fffffff) > 0x7f800000) return (b >>> 16) | 0x40;
  return ((b + 0x7fff + ((b >>> 16) & 1)) >>> 16) & 0xffff;
};

/** float32 -> IEEE float16 bits, rounded to nearest, ties to even; beyond 65504 becomes infinity. */
export const float16FromFloat32 = (value: number): number => {
  word[0] = value;
  const b = bits[0] ?? 0;
  const sign = (b >>> 16) & 0x8000;
  const magnitude = b & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude < 0x33000001) return sign;
  const exponent = (magnitude >>> 23) - 127;
  const mantissa = (magnitude & 0x7fffff) | 0x800000;
  // Normal numbers drop 13 bits; below 2^-14 each step of the exponent drops one more.
  const shift = exponent < -14 ? 13 + (-14 - exponent) : 13;
  const kept = mantissa >>> shift;
  const rest = mantissa & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  const rounded = kept + (rest > half || (rest === half && (kept & 1) === 1) ? 1 : 0);
  // A carry out of the mantissa runs into the exponent, which is the right result.
  return sign | (exponent < -14 ? rounded : rounded + ((exponent + 14) << 10));
};

/** IEEE float16 bits -> float32, exact. */
export const float32FromFloat16 = (half: number): number => {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >>> 10) & 0x1f;
  const mantissa = half & 0x3ff;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  if (exponent === 31) return mantissa ? NaN : sign * Infinity;
  return sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
};

/** bfloat16 bits -> a new Float32Array of the same length. */
export const widenBfloat16 = (source: Uint16Array): Float32Array => {
  const out = new Uint32Array(source.length);
  for (let i = 0; i < source.length; i++) out[i] = (source[i] ?? 0) << 16;
  return new Float32Array(out.buffer);
};

/** float16 bits -> a new Float32Array of the same length. */
export const widenFloat16 = (source: Uint16Array): Float32Array => {
  const out = new Float32Array(source.length);
  for (let i = 0; i < source.length; i++) out[i] = float32FromFloat16(source[i] ?? 0);
  return out;
};

/** Any Float32Array -> bits of the named half type; each value as by the functions above. */
export const narrowFloat32 = (source: Float32Array, dtype: "bfloat16" | "float16"): Uint16Array => {
  const narrow = dtype === "bfloat16" ? bfloat16FromFloat32 : float16FromFloat32;
  // A plain loop: Uint16Array.from with a function takes ten times as long.
  const out = new Uint16Array(source.length);
  for (let i = 0; i < source.length; i++) out[i] = narrow(source[i] ?? 0);
  return out;
};

const exponentBits: Partial<Record<DType, number>> = { bfloat16: 0x7f80, float16: 0x7c00 };

/** How many elements are NaN or infinite. `data` are floats, or the bits of a half type. */
export const countNonFinite = (dtype: DType, data: TypedArray): number => {
  const exponent = exponentBits[dtype];
  let count = 0;
  for (const element of data) {
    const value = Number(element);
    // A half type's bits are infinite or NaN where every bit of the exponent is set.
    if (exponent === undefined ? !Number.isFinite(value) : (value & exponent) === exponent) count++;
  }
  return count;
};
