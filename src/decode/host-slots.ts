import { allocate } from "../core/dtype.js";
import { Tensor } from "../runtime/tensor.js";
import {
  roundedTo,
  type CacheType,
  type SlotAllocator,
  type Slots,
  type SlotShape,
} from "./slots.js";

/** Elements of a cache: numbers, or the bits of a half type. */
type Elements = Float32Array | Uint16Array;

/** A stretch of slots that stays, and where it goes. */
interface Run {
  readonly from: number;
  readonly to: number;
  readonly length: number;
}

/**
 * Buffers that are handed out again, with what is in them: new ones are cleared and collected, which takes longer than moving
 * what they hold.
 */
class BufferPool {
  readonly #dtype: CacheType;
  readonly #free: Elements[] = [];

  constructor(dtype: CacheType) {
    this.#dtype = dtype;
  }

  /** One of `length` elements at least. */
  take(length: number): Elements {
    const fitting = this.#free.findIndex((buffer) => buffer.length >= length);
    if (fitting >= 0) return this.#free.splice(fitting, 1)[0] as Elements;
    // In the place of one that is too small, so that there are never more than are in use at once.
    this.#free.pop();
    return allocate(this.#dtype, length) as Elements;
  }

  give(buffer: Elements): void {
    this.#free.push(buffer);
  }
}

/** Slots in this process's own memory, which are moved in place where that is possible. */
class HostSlots implements Slots {
  readonly #pool: BufferPool;
  readonly #shape: SlotShape;
  #prompts: number;
  #capacity: number;
  /** Keys then values of each layer: [prompts, kvHeads, capacity, headDim], and what lies behind it. */
  #buffers: Elements[];
  #tensors: readonly Tensor[] = [];

  constructor(pool: BufferPool, shape: SlotShape, prompts: number, slots: number) {
    this.#pool = pool;
    this.#shape = shape;
    this.#prompts = prompts;
    this.#capacity = slots;
    const size = this.#rowSize(slots) * prompts;
    this.#buffers = Array.from({ length: 2 * shape.layers }, () => pool.take(size));
    this.#wrap();
  }

  get tensors(): readonly Tensor[] {
    return this.#tensors;
  }

  writePrefix(layers: readonly Float32Array[]): void {
    const { kvHeads, headDim } = this.#shape;
    this.#buffers.forEach((buffer, at) => {
      const source = roundedTo(this.#shape.dtype, layers[at] ?? new Float32Array());
      const size = source.length / kvHeads;
      for (let row = 0; row < this.#prompts * kvHeads; row++) {
        const head = row % kvHeads;
        buffer.set(source.subarray(head * size, (head + 1) * size), row * this.#capacity * headDim);
      }
    });
  }

  append(slots: readonly number[], fresh: readonly Tensor[]): void {
    const { kvHeads, headDim } = this.#shape;
    const stretches = joinRuns(slots);
    const size = slots.length * headDim;
    this.#buffers.forEach((buffer, at) => {
      const source = fresh[at]?.data as Elements;
      for (let row = 0; row < this.#prompts * kvHeads; row++)
        for (const { from, to, length } of stretches)
          buffer.set(
            source.subarray(row * size + to * headDim, row * size + (to + length) * headDim),
            (row * this.#capacity + from) * headDim,
          );
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
    for (const buffer of this.#buffers) this.#pool.give(buffer);
    this.#buffers = [];
  }

  #rowSize(capacity: number): number {
    return this.#shape.kvHeads * capacity * this.#shape.headDim;
  }

  #wrap(): void {
    const { kvHeads, headDim, dtype } = this.#shape;
    const shape = [this.#prompts, kvHeads, this.#capacity, headDim];
    for (const tensor of this.#tensors) tensor.dispose();
    const size = this.#rowSize(this.#capacity) * this.#prompts;
    this.#tensors = this.#buffers.map((buffer) =>
      Tensor.fromArray(dtype, shape, buffer.subarray(0, size)),
    );
  }

  #moved(buffer: Elements, runs: readonly (readonly Run[])[], capacity: number): Elements {
    const { kvHeads, headDim } = this.#shape;
    const target =
      capacity === this.#capacity
        ? buffer
        : this.#pool.take(this.#rowSize(capacity) * this.#prompts);
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
    if (target !== buffer) this.#pool.give(buffer);
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

/** Slots in host memory, which those that come later have when they are disposed of. */
export const openHostSlots = (): SlotAllocator => {
  const pools = new Map<CacheType, BufferPool>();
  return {
    allocate(shape, prompts, slots) {
      const pool = pools.get(shape.dtype) ?? new BufferPool(shape.dtype);
      pools.set(shape.dtype, pool);
      return new HostSlots(pool, shape, prompts, slots);
    },
    dispose: () => {
      pools.clear();
    },
  };
};
