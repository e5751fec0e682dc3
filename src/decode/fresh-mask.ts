import { MASKED } from "../models/blocks/attention.js";
import { Tensor } from "../runtime/tensor.js";

/**
 * The mask of new tokens that stand behind the cache and not in it: their columns, those of the slots that they will take, come last.
 *
 * @param mask float32 [..., slots]
 * @param fresh the slots that the new tokens will take; what stands in the cache there is not theirs yet, and nobody sees it
 * @param cached how many slots the cache has in this run: the mask's, or fewer, which are the first
 * @returns float32 [..., cached + fresh.length]
 */
export const freshBehind = (mask: Tensor, fresh: readonly number[], cached: number): Tensor => {
  const slots = mask.shape.at(-1) ?? 0;
  const rows = mask.data.length / slots;
  const columns = cached + fresh.length;
  const from = mask.data as Float32Array;
  const to = new Float32Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    const [source, target] = [row * slots, row * columns];
    to.set(from.subarray(source, source + cached), target);
    fresh.forEach((slot, i) => {
      if (slot < cached) to[target + slot] = MASKED;
      to[target + cached + i] = from[source + slot] ?? MASKED;
    });
  }
  return Tensor.fromArray("float32", [...mask.shape.slice(0, -1), columns], to);
};
