import { Tensor } from "../runtime/tensor.js";
import type { SlotAllocator, Slots, SlotShape } from "./slots.js";

/** A stretch of slots that stays, and where it goes. */
interface Run {
  readonly from: number;
  readonly to: number;
  readonly length: number;
}

/** Slots in this process's own memory, which are moved in place where that is possible. */
class HostSlots implements Slots {
  readonly #shape: SlotShape;
  #prompts: number;
  #capacity: number;
  /** Keys then values of each layer: [prompts, kvHeads, capacity, headDim]. */
  #buffers: Float32Array[];
  #tensors: readonly Tensor[] = [];

  constructor(shape: SlotShape, prompts: number, slots: number) {
    this.#shape = shape;
    this.#prompts = prompts;
    this.#capacity = slots;
    const size = this.#rowSize(slots) * prompts;
    this.#buffers = Array.from({ length: 2 * shape.layers }, () => new Float32Array(size));
    this.#wrap();
  }

  get tensors(): readonly Tensor[] {
    return this.#tensors;
  }

  writePrefix(layers: readonly Float32Array[]): void {
    const { kvHeads, headDim } = this.#shape;
    this.#buffers.forEach((buffer, at) => {
      const source = layers[at] ?? new Float32Array();
      const size = source.length / kvHeads;
      for (let row = 0; row < this.#prompts * kvHeads; row++) {
        const head = row % kvHeads;
        buffer.set(source.subarray(head * size, (head + 1) * size), row * this.#capacity * headDim);
      }
    });
  }

  keep(places: readonly number[]): void {
    const size = this.#rowSize(this.#capacity);
    places.forEach((from, to) => {
      if (from === to) return;
      for (const buffer of this.#buffers)
        buffer.copyWithin(to * size, from * size, (from + 1) * size);
    });
    this.#prompts = places.length;
    this.#buffers = this.#buffers.map((buffer) => buffer.subarray(0, places.length * size));
    this.#wrap();
  }

  move(live: readonly (readonly number[])[], slots: number): void {
    const runs = live.map(joinRuns);
    this.#buffers = this.#buffers.map((buffer) => this.#moved(buffer, runs, slots));
    if (slots === this.#capacity) return;
    this.#capacity = slots;
    this.#wrap();
  }

  ready(): Promise<void> {
    return Promise.resolve();
  }

  dispose(): void {
    for (const tensor of this.#tensors) tensor.dispose();
    this.#tensors = [];
    this.#buffers = [];
  }

  #rowSize(capacity: number): number {
    return this.#shape.kvHeads * capacity * this.#shape.headDim;
  }

  #wrap(): void {
    const { kvHeads, headDim } = this.#shape;
    const shape = [this.#prompts, kvHeads, this.#capacity, headDim];
    for (const tensor of this.#tensors) tensor.dispose();
    this.#tensors = this.#buffers.map((buffer) => Tensor.fromArray("float32", shape, buffer));
  }

  #moved(buffer: Float32Array, runs: readonly (readonly Run[])[], capacity: number): Float32Array {
    const { kvHeads, headDim } = this.#shape;
    const target =
      capacity === this.#capacity
        ? buffer
        : new Float32Array(this.#rowSize(capacity) * this.#prompts);
    runs.forEach((promptRuns, prompt) => {
      for (let head = 0; head < kvHeads; head++) {
        const row = prompt * kvHeads + head;
        for (const { from, to, length } of promptRuns) {
          const source = (row * this.#capacity + from) * headDim;
          // Slots only move to the front, so within one buffer nothing is overwritten before it has moved.
          target.set(
            buffer.subarray(source, source + length * headDim),
            (row * capacity + to) * headDim,
          );
        }
      }
    });
    return target;
  }
}

/** Rising slots that move together to 0, 1, ...: one run for each unbroken stretch. */
const joinRuns = (slots: readonly number[]): readonly Run[] => {
  const runs: Run[] = [];
  slots.forEach((slot, to) => {
    const last = runs.at(-1);
    if (last && last.from + last.length === slot)
      runs[runs.length - 1] = { ...last, length: last.length + 1 };
    else runs.push({ from: slot, to, length: 1 });
  });
  return runs;
};

/** Slots in host memory. */
export const hostSlots: SlotAllocator = (shape, prompts, slots) =>
  new HostSlots(shape, prompts, slots);
