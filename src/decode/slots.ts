import { narrowFloat32 } from "../core/half.js";
import type { Precision } from "../core/precision.js";
import type { Tensor } from "../runtime/tensor.js";

/** The number type of keys and values. */
export type CacheType = "float32" | "bfloat16" | "float16";

/** What a precision's products read: keys and values that are rounded to it when they are written have the same numbers there. */
export const cacheTypeOf = (precision: Precision): CacheType => {
  if (precision === "fp32") return "float32";
  return precision === "fp16" ? "float16" : "bfloat16";
};

/** float32 elements, or their bits in a half type. */
export const roundedTo = (dtype: CacheType, elements: Float32Array): Float32Array | Uint16Array =>
  dtype === "float32" ? elements : narrowFloat32(elements, dtype);

/** The axes of every layer's keys and values, and their number type. */
export interface SlotShape {
  readonly layers: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly dtype: CacheType;
}

/**
 * The memory of a key-value cache: for every prompt as many slots, each with the keys and values of a token in all layers and heads.
 *
 * What a slot means, and who sees it, is TreeCache's matter. What is never written, or was moved over, may hold any finite numbers.
 */
export interface Slots {
  /**
   * Keys of layer 0, its values, keys of layer 1, ...: each [prompts, kvHeads, slots, headDim], where the session that
   * writes them computes. To be read after `ready`.
   */
  readonly tensors: readonly Tensor[];
  /** Writes into the first slots of every prompt: of each tensor the same float32 [kvHeads, length, headDim], rounded. */
  writePrefix(layers: readonly Float32Array[]): void;
  /**
   * Writes the keys and values of new tokens, [prompts, kvHeads, count, headDim] of each tensor in its number type, into these slots of
   * every prompt. Only where both are in host memory.
   */
  append?(slots: readonly number[], fresh: readonly Tensor[]): void;
  /** Drops all prompts but those at these places, which rise, and become prompts 0, 1, ... */
  keep(places: readonly number[]): void;
  /** Moves of every prompt these slots, which rise, to 0, 1, ..., and makes room for `slots` in all. */
  move(live: readonly (readonly number[])[], slots: number): void;
  /** Ends what the calls before it have asked for, where it takes runs. */
  ready(): Promise<void>;
  dispose(): void;
}

/** Where the slots of one cache after the other come from. */
export interface SlotAllocator {
  /** Room for so many tokens of so many prompts. */
  allocate(shape: SlotShape, prompts: number, slots: number): Slots;
  dispose(): void;
}
