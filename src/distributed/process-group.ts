import type { SummedArray } from "../runtime/mpi/mpi.js";

/** How much a group's messages were. */
export interface Traffic {
  bytes: number;
  milliseconds: number;
}

/**
 * The processes of a run. What they call is collective: all make the same calls in the same order. Calls may be made while
 * others are under way; they are answered one after the other.
 */
export interface ProcessGroup {
  /** This process, from 0. */
  readonly rank: number;
  readonly size: number;
  /** What carries the messages, for records: "Open MPI v4.1.4". */
  readonly description: string;
  /** Adds up the arrays of all processes, in place; all get the same bits. The array must not change meanwhile. */
  sum(array: SummedArray): Promise<void>;
  /**
   * Adds up the arrays of all processes, each of which gets a share: `whole` holds `size` equal stretches, and `own` becomes the sum of
   * those that stand at this process's place, or with `adds` gets it added. `own` may be a part of `whole`, whose other elements stay
   * what they were.
   */
  reduceScatter(whole: Float32Array, own: Float32Array, adds?: boolean): Promise<void>;
  /** Puts the shares of all processes together: stretch i of `whole` becomes `own` of process i. `own` may be a part of `whole`. */
  allGather(own: ArrayBufferView, whole: ArrayBufferView): Promise<void>;
  /** What has been sent around so far: bytes of the arrays that were given, and the time that it took, waiting included. */
  readonly traffic: Traffic;
  /** Replaces the elements by those of process `from`. */
  broadcast(array: ArrayBufferView, from: number): Promise<void>;
  /** What every process says, in the order of their ranks: any JSON value. */
  gather<T>(value: T): Promise<readonly T[]>;
  /** Waits until all have come here. */
  barrier(): Promise<void>;
  /** Ends all processes at once with this exit code: for a process that has failed, when it has said why. */
  abort(code: number): void;
  /** Leaves the group. */
  close(): Promise<void>;
}

/** The memory of an array. */
export const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

/** A process by itself. */
export const soloGroup: ProcessGroup = {
  rank: 0,
  size: 1,
  description: "one process",
  sum: () => Promise.resolve(),
  reduceScatter(whole, own, adds = false) {
    if (adds) for (const [i, value] of whole.entries()) own[i] = (own[i] ?? 0) + value;
    else if (own.buffer !== whole.buffer || own.byteOffset !== whole.byteOffset) own.set(whole);
    return Promise.resolve();
  },
  allGather(own, whole) {
    if (own.buffer !== whole.buffer || own.byteOffset !== whole.byteOffset)
      bytesOf(whole).set(bytesOf(own));
    return Promise.resolve();
  },
  traffic: { bytes: 0, milliseconds: 0 },
  broadcast: () => Promise.resolve(),
  gather: (value) => Promise.resolve([value]),
  barrier: () => Promise.resolve(),
  abort: () => undefined,
  close: () => Promise.resolve(),
};
