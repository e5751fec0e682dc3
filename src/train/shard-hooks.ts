import type { PartHooks, StepPart } from "../runtime/layered-session.js";
import { Tensor } from "../runtime/tensor.js";
import { accumulatorName, gradientName, parameterName } from "./loss-graph.js";
import type { Bucket } from "./partition.js";
import type { Shards } from "./shards.js";

/** Up to here memory is used again. An embedding's is let go: a process would keep it for all of a step. */
const KEPT_BYTES = 64 << 20;

/** Memory that is used again, by its size. */
class Pool {
  readonly #free = new Map<number, Uint8Array[]>();

  take = (bytes: number): Uint8Array => this.#free.get(bytes)?.pop() ?? new Uint8Array(bytes);

  give = (memory: Uint8Array): void => {
    if (memory.length > KEPT_BYTES) return;
    this.#free.set(memory.length, [...(this.#free.get(memory.length) ?? []), memory]);
  };
}

/** The names that begin so, without the beginning. */
const without = (names: readonly string[], prefix: string): readonly string[] =>
  names.flatMap((name) => (name.startsWith(prefix) ? [name.slice(prefix.length)] : []));

const floatsIn = (memory: Uint8Array): Float32Array =>
  new Float32Array(memory.buffer as ArrayBuffer, memory.byteOffset, memory.length / 4);

/**
 * What brings a step's parts what this process has no more than a share of, and takes their gradients: of stage 2 and 3.
 *
 * Gradients of a bucket are made in memory for that bucket alone, and added up among the processes as soon as all are there. In stage 3
 * the values and frozen weights of a part are gathered while the part before it runs, and let go when it has run.
 */
export const shardHooks = (shards: Shards): PartHooks => {
  const { weights } = shards;
  const pool = new Pool();
  const isWhole = shards.stage < 3;
  /** Buckets whose gradients are being made, and how many of them are still to come. */
  const making = new Map<Bucket, { readonly memory: Uint8Array; missing: number }>();
  const borrowed = new Map<number, Uint8Array[]>();
  const gradientPrefix = gradientName("");
  const parameterPrefix = parameterName("");

  const bucketsOf = (names: readonly string[]): ReadonlySet<Bucket> =>
    new Set(names.flatMap((name) => shards.bucketOf(name) ?? []));

  return {
    overlaps: shards.sharding.overlaps,
    async enter({ index, reads, gives }: StepPart) {
      const brought: Record<string, Tensor> = {};
      const parameters = without(gives, gradientPrefix);
      for (const bucket of bucketsOf(parameters)) {
        if (making.has(bucket)) continue;
        const memory = pool.take(4 * bucket.length).fill(0);
        making.set(bucket, { memory, missing: bucket.members.length });
      }
      for (const [bucket, { memory }] of making)
        for (const [name, tensor] of shards.viewsOf(bucket, floatsIn(memory)))
          if (parameters.includes(name))
            brought[accumulatorName(name)] = brought[gradientName(name)] = tensor;
      if (isWhole) return brought;

      const memories: Uint8Array[] = [];
      borrowed.set(index, memories);
      const take = (bytes: number): Uint8Array => {
        const memory = pool.take(bytes);
        memories.push(memory);
        return memory;
      };
      // All are asked for at once, so that the order of the messages is the same everywhere.
      const waiting: Promise<void>[] = [];
      for (const bucket of bucketsOf(without(reads, parameterPrefix))) {
        const whole = floatsIn(take(4 * bucket.length));
        for (const [name, tensor] of shards.viewsOf(bucket, whole))
          if (reads.includes(parameterName(name))) brought[parameterName(name)] = tensor;
        waiting.push(shards.gatherBucket(bucket, whole));
      }
      for (const name of reads)
        if (weights.has(name))
          waiting.push(
            weights.gather(name, take).then((tensor) => {
              brought[name] = tensor;
            }),
          );
      await Promise.all(waiting);
      return brought;
    },
    async leave({ index, gives }: StepPart) {
      for (const memory of borrowed.get(index) ?? []) pool.give(memory);
      borrowed.delete(index);
      const waiting: Promise<void>[] = [];
      for (const name of without(gives, gradientPrefix)) {
        const bucket = shards.bucketOf(name);
        const made = bucket && making.get(bucket);
        if (!bucket || !made || --made.missing > 0) continue;
        making.delete(bucket);
        const { memory } = made;
        waiting.push(
          shards.addGradients(bucket, floatsIn(memory)).then(() => {
            pool.give(memory);
          }),
        );
      }
      await Promise.all(waiting);
    },
  };
};
