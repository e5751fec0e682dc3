import { UserError } from "../../core/errors.js";
import { countNonFinite, float16FromFloat32, narrowFloat32 } from "../../core/half.js";
import type { GgufStorage } from "./write-gguf.js";

const BLOCK = 32;
const BLOCK_BYTES = 34;
const { fround } = Math;

/** Rounds half away from zero, as C's roundf. */
const roundAway = (x: number): number => (x < 0 ? -Math.floor(0.5 - x) : Math.floor(x + 0.5));

/**
 * Blocks of 32 codes with one float16 scale d = max |x| / 127, code = x / d rounded.
 *
 * Source: quantize_row_q8_0_ref of ggml-quants.c.
 */
const quantizeQ8 = (values: Float32Array): Uint8Array => {
  const bytes = new Uint8Array((values.length / BLOCK) * BLOCK_BYTES);
  for (let block = 0; block * BLOCK < values.length; block++) {
    const [from, to] = [block * BLOCK, block * BLOCK_BYTES];
    let most = 0;
    for (let i = 0; i < BLOCK; i++) most = Math.max(most, Math.abs(values[from + i] as number));
    const d = fround(most / 127);
    const inverse = d === 0 ? 0 : fround(1 / d);
    const scale = float16FromFloat32(d);
    bytes[to] = scale & 255;
    bytes[to + 1] = scale >>> 8;
    for (let i = 0; i < BLOCK; i++)
      bytes[to + 2 + i] = roundAway(fround((values[from + i] as number) * inverse)) & 255;
  }
  return bytes;
};

const bytesOf = (array: ArrayBufferView): Uint8Array =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

/** Whether a scale or an element is beyond what float16 holds. */
const overflows = (type: GgufStorage, values: Float32Array): number | undefined => {
  const limit = type === "F16" ? 65520 : type === "Q8_0" ? 65520 * 127 : Infinity;
  return values.find((value) => Math.abs(value) >= limit);
};

/**
 * A tensor's elements as they stand in a GGUF file, rounded to nearest.
 *
 * @param values rows of a multiple of 32 elements for Q8_0
 * @throws {UserError} naming the tensor, if a value is not finite, or too large for the type
 */
export const encodeTensor = (name: string, type: GgufStorage, values: Float32Array): Uint8Array => {
  const faulty = countNonFinite("float32", values);
  if (faulty > 0)
    throw new UserError(
      `Cannot write "${name}": found ${String(faulty)} of ${String(values.length)} values that are not finite, expected none`,
      "Choose an earlier checkpoint with --load_order, or fetch the model again",
    );
  const large = overflows(type, values);
  if (large !== undefined)
    throw new UserError(
      `Cannot write "${name}" as ${type}: found ${String(large)}, which float16 cannot hold`,
      "Choose --outtype=bf16 or f32",
    );
  if (type === "F32") return bytesOf(values);
  if (type === "Q8_0") return quantizeQ8(values);
  return bytesOf(narrowFloat32(values, type === "F16" ? "float16" : "bfloat16"));
};
