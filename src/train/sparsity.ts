import quickselect from "quickselect";
import type { Pruning } from "../peft/pruning.js";
import type { Tensor } from "../runtime/tensor.js";
import type { ParameterStore } from "./parameters.js";

/**
 * The share of zeros after `step` updates: nothing before the start; then all at once, or
 * sparsity * (1 - (1 - (step - start) / (end - start))^3).
 *
 * Source: Zhu and Gupta, "To Prune, or Not to Prune", equation 1.
 */
export const sparsityAt = (
  { sparsity, schedule, startStep, endStep }: Pruning,
  step: number,
  totalSteps: number,
): number => {
  const start = startStep ?? Math.ceil(totalSteps / 5);
  const end = endStep ?? Math.ceil((4 * totalSteps) / 5);
  if (step < start) return 0;
  if (schedule === "oneshot" || step >= end) return sparsity;
  return sparsity * (1 - (1 - (step - start) / (end - start)) ** 3);
};

/** Whether an adapter that is to be pruned is, after `step` updates: before that it is no result, however low its loss. */
export const isPruned = (
  settings: Pruning | undefined,
  step: number,
  totalSteps: number,
): boolean => !settings || sparsityAt(settings, step, totalSteps) === settings.sparsity;

/** How many of `size` elements a share comes to. */
export const zeroCount = (share: number, size: number): number => Math.round(share * size);

/** The elements of a matrix and its moments: all of them are zero where its mask is. */
interface Matrix {
  readonly values: Float32Array;
  readonly m: Float32Array;
  readonly v: Float32Array;
}

/**
 * Prunes the stretch [start, start + length) until `count` of it are zero: those of the smallest magnitude, the first of
 * equals. What the mask has at zero already stays so, and counts.
 */
const prune = (
  { values, m, v }: Matrix,
  mask: Uint8Array,
  count: number,
  start: number,
  length: number,
): void => {
  const end = start + length;
  const magnitudes = new Float32Array(length);
  let living = 0;
  for (let i = start; i < end; i++)
    if (mask[i] === 1) magnitudes[living++] = Math.abs(values[i] as number);
  const wanted = count - (length - living);
  if (wanted <= 0) return;
  const parted = magnitudes.subarray(0, living);
  // quickselect takes whatever has numbers at indices; its types know arrays alone, which are three times as slow here.
  quickselect(parted as unknown as number[], wanted - 1);
  const threshold = parted[wanted - 1] as number;
  let ties = wanted;
  for (let i = 0; i < wanted; i++) if ((parted[i] as number) < threshold) ties--;
  for (let i = start; i < end; i++) {
    if (mask[i] === 0) continue;
    const magnitude = Math.abs(values[i] as number);
    if (magnitude < threshold || (magnitude === threshold && ties-- > 0))
      mask[i] = values[i] = m[i] = v[i] = 0;
  }
};

/** The masks of a run whose method prunes: 1 where an element of A or B lives, 0 where it is pruned for good. */
export interface Sparsifier {
  /** To be called on finished gradients, computed times `scale`: adds the l1 penalty's, and clears those of pruned elements. */
  prepareGradients(scale?: number): void;
  /** To be called after update `step` (from 1): prunes as planned, and clears values and moments of pruned elements. */
  afterUpdate(step: number): void;
  /** The share of pruned elements over all matrices. */
  readonly achieved: number;
}

/**
 * Prunes the trainable matrices of a store in place; its masks live in `store.masks`, from where they are saved. From a device's
 * memory the matrices are fetched for it, and taken back: in steps that prune, and where gradients have to be changed.
 *
 * A pruned element is exactly zero from then on: so are its gradient and both of its moments, and AdamW leaves it there.
 */
export const createSparsifier = (
  settings: Pruning,
  store: ParameterStore,
  totalSteps: number,
): Sparsifier => {
  const saved = new Set(store.parameters.filter((spec) => spec.saved).map(({ name }) => name));
  const ofMethod = [...store.gradients].filter(([name]) => !saved.has(name));
  const matrices = ofMethod.map(([name, gradient]) => {
    const [rows = 0, columns = 0] = gradient.shape;
    return { name, rows, columns, size: rows * columns, gradient };
  });
  const { device } = store;
  const elementsOf = (tensor: Tensor | undefined): Float32Array => {
    if (!tensor) throw new RangeError("Cannot prune: found a matrix without its moments");
    return device.read(tensor) as Float32Array;
  };
  /** Takes elements that were changed back to where they belong; in host memory they have been changed there. */
  const putBack = (tensor: Tensor | undefined, elements: Float32Array): void => {
    if (tensor && device.place !== "host") device.write(tensor, elements);
  };
  const maskOf = (name: string, size: number): Uint8Array => {
    const known = store.masks.get(name);
    if (known) return known;
    const mask = new Uint8Array(size).fill(1);
    store.masks.set(name, mask);
    return mask;
  };
  /** Zeros of each mask, counted when first asked for: a resumed run's masks come after this object. */
  const zeros = new Map<string, number>();
  const zerosOf = (name: string): number => {
    const known = zeros.get(name);
    if (known !== undefined) return known;
    let count = 0;
    for (const alive of store.masks.get(name) ?? []) count += 1 - alive;
    zeros.set(name, count);
    return count;
  };
  return {
    prepareGradients(scale = 1) {
      for (const { name, gradient: tensor } of matrices) {
        const mask = store.masks.get(name);
        if (settings.method !== "l1" && !mask) continue;
        const gradient = elementsOf(tensor);
        if (settings.method === "l1") {
          const values = elementsOf(store.values.get(name));
          for (let i = 0; i < values.length; i++)
            gradient[i] =
              (gradient[i] as number) + scale * settings.l1Weight * Math.sign(values[i] as number);
        }
        if (mask) for (let i = 0; i < mask.length; i++) if (mask[i] === 0) gradient[i] = 0;
        putBack(tensor, gradient);
      }
    },
    afterUpdate(step) {
      const share = sparsityAt(settings, step, totalSteps);
      for (const { name, rows, columns, size } of matrices) {
        const count = zeroCount(share, size);
        if (count <= zerosOf(name)) continue;
        const mask = maskOf(name, size);
        const tensors = [store.values, store.m, store.v].map((of) => of.get(name));
        const parts = tensors.map(elementsOf) as [Float32Array, Float32Array, Float32Array];
        const matrix = { values: parts[0], m: parts[1], v: parts[2] };
        if (settings.method === "topk")
          for (let row = 0; row < rows; row++) {
            // Rows share the count evenly; the first ones take what is left over.
            const ofRow = Math.floor(count / rows) + Number(row < count % rows);
            prune(matrix, mask, ofRow, row * columns, columns);
          }
        else prune(matrix, mask, count, 0, size);
        parts.forEach((elements, i) => {
          putBack(tensors[i], elements);
        });
        zeros.set(name, count);
      }
    },
    get achieved() {
      const all = matrices.reduce((sum, { size }) => sum + size, 0);
      return matrices.reduce((sum, { name }) => sum + zerosOf(name), 0) / all;
    },
  };
};
