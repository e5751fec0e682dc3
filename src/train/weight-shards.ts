import { dtypes, elementCount, type DType } from "../core/dtype.js";
import { Tensor } from "../runtime/tensor.js";
import type { Sharding } from "./sharding.js";

/** Bytes to which shares of frozen weights are rounded up, so that elements of every dtype begin where they may. */
const ALIGNMENT = 16;

/** A frozen weight of which every process has a share. */
interface SharedWeight {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly share: Uint8Array;
}

/** Frozen weights that processes share out; a share is a copy, so that of the model's files no more is read. */
export class WeightShards {
  readonly #sharding: Sharding;
  readonly #weights = new Map<string, SharedWeight>();

  constructor(sharding: Sharding) {
    this.#sharding = sharding;
  }

  /** Whether a weight is shared out; the others every process has whole. */
  isShared({ shape }: Pick<Tensor, "shape">): boolean {
    return elementCount(shape) >= this.#sharding.persistenceThreshold;
  }

  /** Takes this process's share of a weight, once. */
  add(name: string, { dtype, shape, data }: Tensor): void {
    if (this.#weights.has(name)) return;
    const { rank, size } = this.#sharding.group;
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    const length = Math.ceil(bytes.length / size / ALIGNMENT) * ALIGNMENT;
    const share = new Uint8Array(length);
    share.set(bytes.subarray(rank * length, (rank + 1) * length));
    this.#weights.set(name, { dtype, shape, share });
  }

  has(name: string): boolean {
    return this.#weights.has(name);
  }

  /** Collective: the whole weight, in memory of its own. */
  async gather(name: string, take: (bytes: number) => Uint8Array): Promise<Tensor> {
    const weight = this.#weights.get(name);
    if (!weight) throw new RangeError(`Cannot gather "${name}": found no share of it`);
    const { dtype, shape, share } = weight;
    const { group } = this.#sharding;
    const whole = take(share.length * group.size);
    await group.allGather(share, whole);
    const { array } = dtypes[dtype];
    const data = new array(whole.buffer, whole.byteOffset, elementCount(shape));
    return Tensor.fromArray(dtype, shape, data);
  }
}
