import { MASKED } from "../models/blocks/attention.js";
import { Tensor } from "../runtime/tensor.js";

/** The sizes of a key-value cache: axes of every layer's keys and values, and beams a prompt. */
export interface TreeCacheShape {
  readonly layers: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly numBeams: number;
}

/** Steps whose slots are made at once; after them the cache is packed or grown. */
const STEPS_PER_GROWTH = 16;

/** A stretch of slots that stays, and where it goes. */
interface Run {
  readonly from: number;
  readonly to: number;
  readonly length: number;
}

/**
 * Keys and values of all tokens that the live beams descend from, a slot each, and which beam sees which.
 *
 * The prompt's slots come first; in each step every beam takes a new one. Beams that share a past share its slots, so going
 * on from another beam copies a row of the mask, not of the cache. When the slots are used up, those that no beam sees any
 * more are dropped (padding after a shorter prompt, beams that died out), and room for more steps is made.
 */
export class TreeCache {
  readonly #shape: TreeCacheShape;
  #prompts: number;
  #capacity: number;
  #used: number;
  #stepsLeft: number;
  /** Keys then values of each layer: [prompts, kvHeads, capacity, headDim]. */
  #buffers: Float32Array[];
  #tensors: readonly Tensor[] = [];
  /** 0 where a beam sees a slot, else `MASKED`: [prompts, numBeams, capacity]. */
  #mask: Float32Array;

  /**
   * Room for prompts of these lengths, padded at the right to the longest.
   *
   * The caller writes all their slots before the first `advance`. `steps` is how often that will be called at most.
   */
  constructor(shape: TreeCacheShape, lengths: readonly number[], steps: number) {
    this.#shape = shape;
    this.#prompts = lengths.length;
    this.#capacity = Math.max(...lengths);
    this.#used = this.#capacity;
    this.#stepsLeft = steps;
    const size = this.#rowSize(this.#capacity) * lengths.length;
    this.#buffers = Array.from({ length: 2 * shape.layers }, () => new Float32Array(size));
    this.#mask = new Float32Array(lengths.length * shape.numBeams * this.#capacity).fill(MASKED);
    lengths.forEach((length, prompt) => {
      for (let beam = 0; beam < shape.numBeams; beam++) {
        const start = this.#maskRow(prompt, beam);
        this.#mask.fill(0, start, start + length);
      }
    });
    this.#wrap();
  }

  get prompts(): number {
    return this.#prompts;
  }

  get slots(): number {
    return this.#capacity;
  }

  /** Keys and values of every layer, float32 [prompts, kvHeads, slots, headDim]: keys of layer 0, its values, and so on. */
  get tensors(): readonly Tensor[] {
    return this.#tensors;
  }

  /** The additive mask of the step, float32 [prompts, 1, 1, numBeams, slots]. */
  get mask(): Tensor {
    return this.maskOf(0, this.#shape.numBeams);
  }

  /** The rows of `mask` for `count` beams from beam `first` on. */
  maskOf(first: number, count: number): Tensor {
    const shape = [this.#prompts, 1, 1, count, this.#capacity];
    if (count === this.#shape.numBeams) return Tensor.fromArray("float32", shape, this.#mask);
    const size = count * this.#capacity;
    const rows = new Float32Array(this.#prompts * size);
    for (let prompt = 0; prompt < this.#prompts; prompt++) {
      const from = this.#maskRow(prompt, first);
      rows.set(this.#mask.subarray(from, from + size), prompt * size);
    }
    return Tensor.fromArray("float32", shape, rows);
  }

  /**
   * Writes keys and values into the first slots of every prompt: `layers` has those of each layer, keys then values, as
   * [kvHeads, length, headDim].
   */
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

  /**
   * Lets every beam go on from its parent ([prompts, numBeams]) and gives it a slot.
   * @returns the slot of beam 0; that of beam b is b further
   */
  advance(parents: Int32Array): number {
    const { numBeams } = this.#shape;
    const inherited = new Float32Array(this.#mask.length);
    for (let prompt = 0; prompt < this.#prompts; prompt++) {
      for (let beam = 0; beam < numBeams; beam++) {
        const from = this.#maskRow(prompt, parents[prompt * numBeams + beam] ?? 0);
        inherited.set(
          this.#mask.subarray(from, from + this.#capacity),
          this.#maskRow(prompt, beam),
        );
      }
    }
    this.#mask = inherited;
    if (this.#used + numBeams > this.#capacity) this.#makeRoom();
    const first = this.#used;
    for (let prompt = 0; prompt < this.#prompts; prompt++)
      for (let beam = 0; beam < numBeams; beam++)
        this.#mask[this.#maskRow(prompt, beam) + first + beam] = 0;
    this.#used += numBeams;
    this.#stepsLeft--;
    return first;
  }

  /** Drops all prompts but those at these places, which rise; their slots move together. */
  keep(places: readonly number[]): void {
    const size = this.#rowSize(this.#capacity);
    const maskSize = this.#shape.numBeams * this.#capacity;
    places.forEach((from, to) => {
      if (from === to) return;
      for (const buffer of this.#buffers)
        buffer.copyWithin(to * size, from * size, (from + 1) * size);
      this.#mask.copyWithin(to * maskSize, from * maskSize, (from + 1) * maskSize);
    });
    this.#prompts = places.length;
    this.#buffers = this.#buffers.map((buffer) => buffer.subarray(0, places.length * size));
    this.#mask = this.#mask.subarray(0, places.length * maskSize);
    this.#wrap();
  }

  dispose(): void {
    for (const tensor of this.#tensors) tensor.dispose();
    this.#tensors = [];
    this.#buffers = [];
  }

  #rowSize(capacity: number): number {
    return this.#shape.kvHeads * capacity * this.#shape.headDim;
  }

  #maskRow(prompt: number, beam: number): number {
    return (prompt * this.#shape.numBeams + beam) * this.#capacity;
  }

  #wrap(): void {
    const { kvHeads, headDim } = this.#shape;
    const shape = [this.#prompts, kvHeads, this.#capacity, headDim];
    for (const tensor of this.#tensors) tensor.dispose();
    this.#tensors = this.#buffers.map((buffer) => Tensor.fromArray("float32", shape, buffer));
  }

  /** The slots of a prompt that any of its beams sees. */
  #liveSlots(prompt: number): readonly number[] {
    const live: number[] = [];
    for (let slot = 0; slot < this.#used; slot++) {
      for (let beam = 0; beam < this.#shape.numBeams; beam++) {
        if (this.#mask[this.#maskRow(prompt, beam) + slot] !== 0) continue;
        live.push(slot);
        break;
      }
    }
    return live;
  }

  /** Moves what is still seen to the front, in place where that frees enough, else into larger buffers. */
  #makeRoom(): void {
    const { numBeams } = this.#shape;
    const live = Array.from({ length: this.#prompts }, (_, prompt) => this.#liveSlots(prompt));
    const used = Math.max(...live.map((slots) => slots.length));
    const roomFor = (steps: number): number => used + numBeams * Math.min(this.#stepsLeft, steps);
    const capacity =
      roomFor(STEPS_PER_GROWTH / 4) <= this.#capacity ? this.#capacity : roomFor(STEPS_PER_GROWTH);

    const runs = live.map(joinRuns);
    this.#buffers = this.#buffers.map((buffer) => this.#moved(buffer, runs, capacity));
    const mask = new Float32Array(this.#prompts * numBeams * capacity).fill(MASKED);
    live.forEach((slots, prompt) => {
      for (let beam = 0; beam < numBeams; beam++) {
        const from = this.#maskRow(prompt, beam);
        const to = (prompt * numBeams + beam) * capacity;
        slots.forEach((slot, place) => {
          mask[to + place] = this.#mask[from + slot] ?? MASKED;
        });
      }
    });
    this.#mask = mask;
    this.#used = used;
    if (capacity === this.#capacity) return;
    this.#capacity = capacity;
    this.#wrap();
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
