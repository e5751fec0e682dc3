import type { SummedArray } from "../runtime/mpi/mpi.js";

/**
 * The processes of a run. What they call is collective: all make the same calls in the same order.
 */
export interface ProcessGroup {
  /** This process, from 0. */
  readonly rank: number;
  readonly size: number;
  /** What carries the messages, for records: "Open MPI v4.1.4". */
  readonly description: string;
  /** Adds up the arrays of all processes, in place; all get the same bits. The array must not change meanwhile. */
  sum(array: SummedArray): Promise<void>;
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

/** A process by itself. */
export const soloGroup: ProcessGroup = {
  rank: 0,
  size: 1,
  description: "one process",
  sum: () => Promise.resolve(),
  broadcast: () => Promise.resolve(),
  gather: (value) => Promise.resolve([value]),
  barrier: () => Promise.resolve(),
  abort: () => undefined,
  close: () => Promise.resolve(),
};
