import { elementCount } from "../core/dtype.js";
import type { AdapterParameter } from "../peft/adapter.js";
import { Tensor } from "../runtime/tensor.js";
import type { MomentAllocator } from "./optimizer.js";
import type { ParameterGroup } from "./parameter-group.js";
import { partition, type Bucket } from "./partition.js";
import type { Sharding } from "./sharding.js";
import { WeightShards } from "./weight-shards.js";

/** What AdamW keeps of a parameter. */
export interface WholeMoments {
  readonly m: Float32Array;
  readonly v: Float32Array;
}

const floats = (tensor: Tensor): Float32Array => tensor.data as Float32Array;

/**
 * The state that training changes where several processes share it out: each has its share of AdamW's moments (stage 1), of the
 * gradients (2) and of the values (3) of every bucket, and updates these alone.
 *
 * Whatever the stage, the numbers are those of one process that has it all, up to the order in which more than two processes add up.
 * Collective calls say so: all processes make them in one order.
 * Source: Rajbhandari et al., "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models".
 */
export class Shards {
  readonly sharding: Sharding;
  /** Stage 3: frozen weights that are shared out, for all sessions that read them. */
  readonly weights: WeightShards;
  readonly buckets: readonly Bucket[];
  /** The trainable parameters in the order of the buckets. */
  readonly specs: readonly AdapterParameter[];
  readonly #bucketOf: ReadonlyMap<string, Bucket>;
  readonly #own: {
    readonly values: Tensor;
    readonly gradients: Tensor;
    readonly m: Tensor;
    readonly v: Tensor;
  };
  /** All values: of stage 3 only while they are held. */
  #values: Float32Array | undefined;
  /** Stage 1: all gradients. */
  readonly #gradients: Float32Array | undefined;
  readonly #held: Map<string, Tensor>;
  #isFinished = false;
  readonly #whole = new Map<"m" | "v", { readonly bucket: Bucket; readonly data: Float32Array }>();

  /**
   * @param held the store's values by name, which gets those of trainable parameters while they are whole
   */
  constructor(
    parameters: readonly AdapterParameter[],
    sharding: Sharding,
    moments: MomentAllocator,
    held: Map<string, Tensor>,
  ) {
    const { stage, group } = sharding;
    const { buckets, length, ownLength } = partition(parameters, group.size);
    this.sharding = sharding;
    this.weights = new WeightShards(sharding);
    this.buckets = buckets;
    this.specs = buckets.flatMap(({ members }) => members.map(({ spec }) => spec));
    this.#bucketOf = new Map(
      buckets.flatMap((bucket) => bucket.members.map(({ spec }) => [spec.name, bucket] as const)),
    );
    this.#held = held;
    const zeros = (count: number): Tensor => Tensor.zeros("float32", [count]);
    this.#gradients = stage === 1 ? new Float32Array(length) : undefined;
    const none = zeros(0);
    this.#own = {
      values: stage === 3 ? zeros(ownLength) : none,
      gradients: stage === 1 ? none : zeros(ownLength),
      m: moments([ownLength]),
      v: moments([ownLength]),
    };
    if (stage !== 3) this.#makeWhole();
  }

  get stage(): 1 | 2 | 3 {
    return this.sharding.stage;
  }

  /** What the optimizer updates here: this process's share of every bucket. */
  get groups(): readonly ParameterGroup[] {
    return this.buckets.map((bucket) => {
      const { decays, share } = bucket;
      const own = (tensor: Tensor): Tensor => tensor.view(bucket.ownAt, [share]);
      return {
        decays,
        length: share,
        values: this.#ownOf(bucket, this.#values, this.#own.values),
        gradients: this.#ownOf(bucket, this.#gradients, this.#own.gradients),
        m: own(this.#own.m),
        v: own(this.#own.v),
      };
    });
  }

  /** The gradients of stage 1, to which micro-steps add: by parameter name. */
  get gradients(): ReadonlyMap<string, Tensor> {
    const gradients = this.#gradients;
    return gradients ? this.#viewsOf(gradients) : new Map<string, Tensor>();
  }

  /** Buffers in which gradients are summed up between two updates. */
  get accumulators(): readonly Float32Array[] {
    return [this.#gradients ?? floats(this.#own.gradients)];
  }

  bucketOf(name: string): Bucket | undefined {
    return this.#bucketOf.get(name);
  }

  /** Collective: the sum over all processes. */
  async total(own: number): Promise<number> {
    const sum = Float64Array.of(own);
    await this.sharding.group.sum(sum);
    return sum[0] ?? NaN;
  }

  /** Collective, at the end of an update's micro-steps: this process's shares of the gradients become the sums of all. */
  async reduceGradients(): Promise<void> {
    const gradients = this.#gradients;
    if (!gradients) return;
    for (const bucket of this.buckets)
      await this.sharding.group.reduceScatter(
        gradients.subarray(bucket.at, bucket.at + bucket.length),
        this.#shareIn(bucket, gradients),
      );
  }

  /** Collective: adds a bucket's gradients, which all processes have made, to this process's share of them. */
  addGradients(bucket: Bucket, made: Float32Array): Promise<void> {
    const own = this.#ownShare(bucket, floats(this.#own.gradients));
    return this.sharding.group.reduceScatter(made.subarray(0, bucket.length), own, true);
  }

  /** Collective, after an update: all have the new values; stage 3 leaves them where they are. */
  async gatherValues(): Promise<void> {
    const values = this.#values;
    if (this.stage === 3 || !values) return;
    for (const bucket of this.buckets)
      await this.sharding.group.allGather(
        this.#shareIn(bucket, values),
        values.subarray(bucket.at, bucket.at + bucket.length),
      );
  }

  /** Collective, stage 3: a bucket's values, in `into`. */
  gatherBucket(bucket: Bucket, into: Float32Array): Promise<void> {
    const own = this.#ownShare(bucket, floats(this.#own.values));
    return this.sharding.group.allGather(own, into.subarray(0, bucket.length));
  }

  /** The parameters of a bucket, as views of a buffer that holds it. */
  viewsOf(bucket: Bucket, buffer: Float32Array): ReadonlyMap<string, Tensor> {
    return new Map(
      bucket.members.map(({ spec, offset }) => {
        const data = buffer.subarray(offset, offset + elementCount(spec.shape));
        return [spec.name, Tensor.fromArray("float32", spec.shape, data)];
      }),
    );
  }

  /** Collective: puts all values into the store, of every process or of one; until they are released. */
  async holdValues(rank?: number): Promise<void> {
    if (this.stage !== 3) return;
    const isHere = rank === undefined || rank === this.sharding.group.rank;
    const whole = isHere ? this.#makeWhole() : undefined;
    for (const bucket of this.buckets) {
      const { at, length } = bucket;
      await this.gatherBucket(bucket, whole?.subarray(at, at + length) ?? new Float32Array(length));
    }
  }

  /** Collective, when training has ended: every process has all values for good, those of process 0, and sessions need no others. */
  async finish(): Promise<void> {
    await this.shareValues();
    this.#isFinished = true;
  }

  /** Whether every process has all values for good. */
  get isFinished(): boolean {
    return this.#isFinished;
  }

  /** Stage 3: lets go of what holdValues has brought. */
  releaseValues(): void {
    if (this.stage !== 3) return;
    this.#values = undefined;
    for (const { name } of this.specs) this.#held.delete(name);
  }

  /** Memory for all values in the store, before they are set by putValues or read from a file; stage 3 releases it again. */
  makeValues(): void {
    if (!this.#values) this.#makeWhole();
  }

  /** Collective: all processes take their shares of the values that the store of process 0 holds. */
  async shareValues(): Promise<void> {
    const { group } = this.sharding;
    for (const { name, shape } of this.specs) {
      const held = group.rank === 0 ? this.#held.get(name) : undefined;
      const data = held ? floats(held) : new Float32Array(elementCount(shape));
      await group.broadcast(data, 0);
      this.putValue(name, data);
    }
  }

  /** Sets a parameter's value where this process has it. */
  putValue(name: string, data: Float32Array): void {
    const whole = this.#held.get(name);
    if (whole) floats(whole).set(data);
    if (this.stage === 3) this.#put(name, data, floats(this.#own.values));
  }

  /** Collective: a parameter's moments, whole. In the order of `specs` a bucket is gathered once. */
  async moments(name: string): Promise<WholeMoments> {
    return { m: await this.moment("m", name), v: await this.moment("v", name) };
  }

  /** Collective: one of them. */
  async moment(which: "m" | "v", name: string): Promise<Float32Array> {
    const bucket = this.#bucketOf.get(name);
    const member = bucket?.members.find(({ spec }) => spec.name === name);
    if (!bucket || !member) throw new RangeError(`Cannot find moments of "${name}"`);
    let known = this.#whole.get(which);
    if (known?.bucket !== bucket) {
      known = { bucket, data: new Float32Array(bucket.length) };
      const own = this.#ownShare(bucket, floats(this.#own[which]));
      await this.sharding.group.allGather(own, known.data);
      this.#whole.set(which, known);
    }
    const { offset, spec } = member;
    return known.data.subarray(offset, offset + elementCount(spec.shape));
  }

  /** What `moment` has gathered last is forgotten: to be called when the moments may change. */
  forgetMoments(): void {
    this.#whole.clear();
  }

  /** Sets this process's shares of a parameter's moments. */
  putMoments(name: string, { m, v }: WholeMoments): void {
    this.#put(name, m, floats(this.#own.m));
    this.#put(name, v, floats(this.#own.v));
  }

  #makeWhole(): Float32Array {
    const { at, length } = this.buckets.at(-1) ?? { at: 0, length: 0 };
    const whole = new Float32Array(at + length);
    this.#values = whole;
    for (const [name, tensor] of this.#viewsOf(whole)) this.#held.set(name, tensor);
    return whole;
  }

  #viewsOf(whole: Float32Array): ReadonlyMap<string, Tensor> {
    return new Map(
      this.buckets.flatMap((bucket) => [
        ...this.viewsOf(bucket, whole.subarray(bucket.at, bucket.at + bucket.length)),
      ]),
    );
  }

  /** This process's share of a bucket, in a buffer of all buckets. */
  #shareIn({ at, share }: Bucket, whole: Float32Array): Float32Array {
    const from = at + this.sharding.group.rank * share;
    return whole.subarray(from, from + share);
  }

  /** The same in a buffer of this process's shares. */
  #ownShare({ ownAt, share }: Bucket, own: Float32Array): Float32Array {
    return own.subarray(ownAt, ownAt + share);
  }

  #ownOf(bucket: Bucket, whole: Float32Array | undefined, own: Tensor): Tensor {
    const data = own.byteLength > 0 || !whole ? undefined : this.#shareIn(bucket, whole);
    return data
      ? Tensor.fromArray("float32", [bucket.share], data)
      : own.view(bucket.ownAt, [bucket.share]);
  }

  /** Copies of a parameter what belongs to this process's share. */
  #put(name: string, data: Float32Array, own: Float32Array): void {
    const bucket = this.#bucketOf.get(name);
    const offset = bucket?.members.find(({ spec }) => spec.name === name)?.offset ?? 0;
    if (!bucket) return;
    const { share } = bucket;
    const begin = this.sharding.group.rank * share;
    const from = Math.max(offset, begin);
    const to = Math.min(offset + data.length, begin + share);
    if (from < to)
      this.#ownShare(bucket, own).set(data.subarray(from - offset, to - offset), from - begin);
  }
}
