import { MASKED } from "../models/blocks/attention.js";
import { Tensor } from "../runtime/tensor.js";
import { openHostSlots } from "./host-slots.js";
import type { SlotAllocator, Slots, SlotShape } from "./slots.js";

/** The sizes of a key-value cache: axes of every layer's keys and values, and beams a prompt. */
export interface TreeCacheShape extends SlotShape {
  readonly numBeams: number;
}

/** Steps whose slots are made at once; after them the cache is packed or grown. */
const STEPS_PER_GROWTH = 16;

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
  readonly #slots: Slots;
  /** 0 where a beam sees a slot, else `MASKED`: [prompts, numBeams, capacity]. */
  #mask: Float32Array;

  /**
   * Room for prompts of these lengths, padded at the right to the longest.
   *
   * The caller writes all their slots before the first `advance`. `steps` is how often that will be called at most.
   *
   * @param allocator where keys and values lie; by default in host memory
   */
  constructor(
    shape: TreeCacheShape,
    lengths: readonly number[],
    steps: number,
    allocator: SlotAllocator = openHostSlots(),
  ) {
    this.#shape = shape;
    this.#prompts = lengths.length;
    this.#capacity = Math.max(...lengths);
    this.#used = this.#capacity;
    this.#stepsLeft = steps;
    this.#slots = allocator.allocate(shape, lengths.length, this.#capacity);
    this.#mask = new Float32Array(lengths.length * shape.numBeams * this.#capacity).fill(MASKED);
    lengths.forEach((length, prompt) => {
      for (let beam = 0; beam < shape.numBeams; beam++) {
        const start = this.#maskRow(prompt, beam);
        this.#mask.fill(0, start, start + length);
      }
    });
  }

  get prompts(): number {
    return this.#prompts;
  }

  get slots(): number {
    return this.#capacity;
  }

  /**
   * Keys and values of every layer, [prompts, kvHeads, slots, headDim] of the shape's dtype: keys of layer 0, its values, and so on.
   * To be read after `ready`.
   */
  get tensors(): readonly Tensor[] {
    return this.#slots.tensors;
  }

  /** Ends the moves that the calls before it have asked for, where they take a device's runs. */
  ready(): Promise<void> {
    return this.#slots.ready();
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
    this.#slots.writePrefix(layers);
  }

  /** Writes new tokens' keys and values into these slots: see Slots.append. @throws {RangeError} where slots are not in host memory */
  append(slots: readonly number[], fresh: readonly Tensor[]): void {
    if (!this.#slots.append)
      throw new RangeError("Cannot append to a cache: found it in a device's memory");
    this.#slots.append(slots, fresh);
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
    const maskSize = this.#shape.numBeams * this.#capacity;
    places.forEach((from, to) => {
      if (from !== to) this.#mask.copyWithin(to * maskSize, from * maskSize, (from + 1) * maskSize);
    });
    this.#slots.keep(places);
    this.#prompts = places.length;
    this.#mask = this.#mask.subarray(0, places.length * maskSize);
  }

  dispose(): void {
    this.#slots.dispose();
  }

  #maskRow(prompt: number, beam: number): number {
    return (prompt * this.#shape.numBeams + beam) * this.#capacity;
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

    this.#slots.move(live, capacity);
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
    this.#capacity = capacity;
  }
}
