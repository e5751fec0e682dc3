import { Graph } from "../graph/graph.js";
import { multiplyDims } from "../core/dim.js";
import { openGraph, type ComputePlan } from "../runtime/compute-plan.js";
import type { Device } from "../runtime/device.js";
import type { Session } from "../runtime/session.js";
import { Tensor } from "../runtime/tensor.js";
import { roundedTo, type SlotAllocator, type Slots, type SlotShape } from "./slots.js";

/**
 * One tensor of a cache with other prompts and slots: int64 `index` [prompts, kvHeads, slots] says which row of `source`
 * [prompts', kvHeads, slots', headDim], taken as [prompts' * kvHeads * slots', headDim], stands in each place of `moved`.
 */
const moveGraph = ({ kvHeads, headDim, dtype }: SlotShape): Graph => {
  const g = new Graph();
  const source = g.input("source", dtype, ["sources", kvHeads, "sourceSlots", headDim]);
  const index = g.input("index", "int64", ["prompts", kvHeads, "slots"]);
  const rows = g.reshape(source, [multiplyDims("sources", kvHeads, "sourceSlots"), headDim]);
  g.output("moved", g.gather(rows, index, { axis: 0 }));
  return g;
};

/** The slots of a prompt: where in the tensors as they are each of them comes from. */
interface Origin {
  readonly prompt: number;
  readonly slots: readonly number[];
}

/**
 * Slots in a device's memory. Moves are gathered up until `ready`, which makes each tensor anew, in one run: of what the slots
 * hold nothing crosses to the host.
 */
class DeviceSlots implements Slots {
  readonly #session: Session;
  readonly #device: Device;
  readonly #shape: SlotShape;
  #tensors: Tensor[];
  #slots: number;
  /** Of every prompt, where its slots are; undefined: where they belong. */
  #origins: readonly Origin[] | undefined;
  #prompts: number;

  constructor(
    { session, device }: { readonly session: Session; readonly device: Device },
    shape: SlotShape,
    prompts: number,
    slots: number,
  ) {
    this.#session = session;
    this.#device = device;
    this.#shape = shape;
    this.#prompts = prompts;
    this.#slots = slots;
    this.#tensors = Array.from({ length: 2 * shape.layers }, () => this.#allocate());
  }

  get tensors(): readonly Tensor[] {
    if (this.#origins) throw new RangeError("Cannot read a cache: found moves that are not done");
    return this.#tensors;
  }

  writePrefix(layers: readonly Float32Array[]): void {
    const { kvHeads, headDim, dtype } = this.#shape;
    const length = (layers[0]?.length ?? 0) / (kvHeads * headDim);
    const slots = Array.from({ length }, (_, slot) => slot);
    for (const tensor of this.#tensors) tensor.dispose();
    this.#tensors = layers.map((layer) =>
      this.#device.upload(
        Tensor.fromArray(dtype, [1, kvHeads, length, headDim], roundedTo(dtype, layer)),
      ),
    );
    this.#origins = Array.from({ length: this.#prompts }, () => ({ prompt: 0, slots }));
  }

  keep(places: readonly number[]): void {
    const all = Array.from({ length: this.#slots }, (_, slot) => slot);
    this.#origins = places.map((place) => this.#origins?.[place] ?? { prompt: place, slots: all });
    this.#prompts = places.length;
  }

  move(live: readonly (readonly number[])[], slots: number): void {
    this.#origins = live.map((staying, prompt) => {
      const before = this.#origins?.[prompt];
      return {
        prompt: before?.prompt ?? prompt,
        slots: before ? staying.map((slot) => before.slots[slot] ?? 0) : staying,
      };
    });
    this.#slots = slots;
  }

  async ready(): Promise<void> {
    const origins = this.#origins;
    if (!origins) return;
    const index = this.#indexOf(origins);
    for (const [i, source] of this.#tensors.entries()) {
      const moved = this.#allocate();
      await this.#session.run({ source, index }, { moved });
      source.dispose();
      this.#tensors[i] = moved;
    }
    index.dispose();
    this.#origins = undefined;
  }

  dispose(): void {
    for (const tensor of this.#tensors) tensor.dispose();
    this.#tensors = [];
  }

  #allocate(): Tensor {
    const { kvHeads, headDim, dtype } = this.#shape;
    return this.#device.zeros(dtype, [this.#prompts, kvHeads, this.#slots, headDim]);
  }

  /** Slots that come from nowhere have the numbers of the first row: nobody sees them before they are written. */
  #indexOf(origins: readonly Origin[]): Tensor {
    const { kvHeads } = this.#shape;
    const sourceSlots = this.#tensors[0]?.shape[2] ?? 0;
    const index = new BigInt64Array(origins.length * kvHeads * this.#slots);
    origins.forEach(({ prompt, slots }, to) => {
      for (let head = 0; head < kvHeads; head++) {
        const from = (prompt * kvHeads + head) * sourceSlots;
        const at = (to * kvHeads + head) * this.#slots;
        for (const [place, slot] of slots.entries()) index[at + place] = BigInt(from + slot);
      }
    });
    return Tensor.fromArray("int64", [origins.length, kvHeads, this.#slots], index);
  }
}

/** Opens what makes and moves slots in the memory of the plan's device, for caches of one shape. */
export const openDeviceSlots = async (
  plan: ComputePlan,
  shape: SlotShape,
): Promise<SlotAllocator> => {
  // Bits are moved, whatever the precision.
  const session = await openGraph({ ...plan, precision: "fp32" }, moveGraph(shape));
  return {
    allocate: (of, prompts, slots) =>
      new DeviceSlots({ session, device: plan.device }, of, prompts, slots),
    dispose: () => {
      session.dispose();
    },
  };
};
