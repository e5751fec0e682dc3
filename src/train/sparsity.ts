import type { SparsitySettings } from "../peft/method.js";
import type { ParameterStore } from "./parameters.js";

/**
 * The share of zeros after `step` updates: nothing before the start; then all at once, or
 * sparsity * (1 - (1 - (step - start) / (end - start))^3).
 *
 * Source: Zhu and Gupta, "To Prune, or Not to Prune", equation 1.
 */
export const sparsityAt = (
  { sparsity, schedule, startStep, endStep }: SparsitySettings,
  step: number,
  totalSteps: number,
): number => {
  const start = startStep ?? Math.ceil(totalSteps / 5);
  const end = endStep ?? Math.ceil((4 * totalSteps) / 5);
  if (step < start) return 0;
  if (schedule === "oneshot" || step >= end) return sparsity;
  return sparsity * (1 - (1 - (step - start) / (end - start)) ** 3);
};

/** How many of `size` elements a share comes to. */
export const zeroCount = (share: number, size: number): number => Math.round(share * size);

/**
 * Adds zeros to a mask until there are `count` in the stretch [start, start + length): those of the smallest magnitude, the
 * first of equals. What is zero already stays so.
 */
const prune = (
  values: Float32Array,
  mask: Uint8Array,
  count: number,
  start: number,
  length: number,
): void => {
  const magnitudes = Float32Array.from({ length }, (_, i) =>
    mask[start + i] === 0 ? -1 : Math.abs(values[start + i] ?? 0),
  );
  const threshold = magnitudes.slice().sort()[count - 1] ?? -2;
  let left = count - magnitudes.reduce((below, x) => below + Number(x < threshold), 0);
  magnitudes.forEach((magnitude, i) => {
    const ties = magnitude === threshold && left > 0;
    if (ties) left--;
    if (ties || magnitude < threshold) mask[start + i] = 0;
  });
};

/** The masks of a run of Sparse LoRA: 1 where an element of A or B lives, 0 where it is pruned for good. */
export interface Sparsifier {
  /** To be called on finished gradients: adds the l1 penalty's, and clears those of pruned elements. */
  prepareGradients(): void;
  /** To be called after update `step` (from 1): prunes as planned, and clears values and moments of pruned elements. */
  afterUpdate(step: number): void;
  /** The share of pruned elements over all matrices. */
  readonly achieved: number;
}

/**
 * Prunes the trainable matrices of a store in place; its masks live in `store.masks`, from where they are saved.
 *
 * A pruned element is exactly zero from then on: so are its gradient and both of its moments.
 */
export const createSparsifier = (
  settings: SparsitySettings,
  store: ParameterStore,
  totalSteps: number,
): Sparsifier => {
  const saved = new Set(store.parameters.filter((spec) => spec.saved).map(({ name }) => name));
  const ofMethod = [...store.gradients].filter(([name]) => !saved.has(name));
  const matrices = ofMethod.map(([name, gradient]) => {
    const [rows = 0, columns = 0] = gradient.shape;
    const elements = (tensors: ReadonlyMap<string, { readonly data: unknown }>): Float32Array =>
      tensors.get(name)?.data as Float32Array;
    const [values, m, v] = [elements(store.values), elements(store.m), elements(store.v)];
    return { name, rows, columns, gradient: gradient.data as Float32Array, values, m, v };
  });
  const maskOf = (name: string, size: number): Uint8Array => {
    const known = store.masks.get(name);
    if (known) return known;
    const mask = new Uint8Array(size).fill(1);
    store.masks.set(name, mask);
    return mask;
  };
  const clear = (mask: Uint8Array, arrays: readonly Float32Array[]): void => {
    mask.forEach((alive, i) => {
      if (alive === 0) for (const array of arrays) array[i] = 0;
    });
  };
  return {
    prepareGradients() {
      for (const { name, gradient, values } of matrices) {
        if (settings.method === "l1")
          values.forEach((value, i) => {
            gradient[i] = (gradient[i] ?? 0) + settings.l1Weight * Math.sign(value);
          });
        const mask = store.masks.get(name);
        if (mask) clear(mask, [gradient]);
      }
    },
    afterUpdate(step) {
      const share = sparsityAt(settings, step, totalSteps);
      if (share === 0) return;
      for (const { name, rows, columns, values, m, v } of matrices) {
        const mask = maskOf(name, values.length);
        const count = zeroCount(share, values.length);
        if (settings.method === "topk")
          for (let row = 0; row < rows; row++) {
            // Rows share the count evenly; the first ones take what is left over.
            const ofRow = Math.floor(count / rows) + Number(row < count % rows);
            prune(values, mask, ofRow, row * columns, columns);
          }
        else prune(values, mask, count, 0, values.length);
        clear(mask, [values, m, v]);
      }
    },
    get achieved() {
      const all = matrices.reduce((sum, { values }) => sum + values.length, 0);
      let zeros = 0;
      for (const mask of store.masks.values())
        zeros += mask.reduce((sum, alive) => sum + 1 - alive, 0);
      return zeros / all;
    },
  };
};
