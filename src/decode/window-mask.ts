import { effectiveWindow, MASKED } from "../models/blocks/attention.js";
import { Tensor } from "../runtime/tensor.js";

/** The graph's mask input for layers that see `window` tokens back; undefined: all of them. */
export const maskName = (window: number | undefined): string =>
  window === undefined ? "mask" : `mask.${String(window)}`;

/**
 * The windows of a model's layers that have an effect among so many positions, each once; undefined stands for layers that see all.
 */
export const windowsIn = (
  windows: readonly (number | undefined)[],
  maxPositions: number,
): readonly (number | undefined)[] => [
  ...new Set(windows.map((window) => effectiveWindow(window, maxPositions))),
];

/**
 * The mask of a layer that sees `window` tokens back, itself included, of one for a layer that sees all.
 *
 * A token sees the slots of its ancestors alone, and slots are given out in the order of positions: so the last `window` of
 * those that a row sees are those within the window.
 * @param mask float32 [..., slots]: 0 where a slot is seen, else MASKED
 */
export const windowedMask = (mask: Tensor, window: number): Tensor => {
  const slots = mask.shape.at(-1) ?? 1;
  const values = (mask.data as Float32Array).slice();
  for (let end = values.length; end > 0; end -= slots) {
    let seen = 0;
    for (let at = end - 1; at >= end - slots; at--)
      if (values[at] === 0 && ++seen > window) values[at] = MASKED;
  }
  return Tensor.fromArray("float32", mask.shape, values);
};
