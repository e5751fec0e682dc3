import type { Precision } from "../core/precision.js";
import type { Tensor } from "./tensor.js";

/** How far a graph is rewritten while it is loaded. */
export type OptimizationLevel = "none" | "basic" | "extended" | "all";

/** How a session is made. */
export interface SessionOptions {
  /** ModelProto bytes. Frozen weights are initializers of data_location EXTERNAL, location "weights". */
  readonly model: Uint8Array;
  /** The memory of every external initializer, by name. It is used in place, by any number of sessions. */
  readonly initializers?: Readonly<Record<string, Tensor>>;
  /** What the device computes float32 nodes in, where it can choose. Default "fp32". */
  readonly precision?: Precision;
  /** Threads that one operator may use; default: as many as the machine runs in parallel. */
  readonly threads?: number | undefined;
  /** Whether to repack constant matrices at creation: a second copy of them for this session. Default false. */
  readonly prepack?: boolean | undefined;
  /** Whether to keep memory between runs and hand it out again; "shared": one store for all sessions that ask for it. Default true. */
  readonly arena?: boolean | "shared";
  /** Whether to plan one block for all values of a run; it helps where shapes never change. Default false. */
  readonly memoryPattern?: boolean;
  /**
   * Names of ONNX Runtime's graph optimizers to leave out. Default: none for a model without external initializers, otherwise those
   * that would compute with them while loading, and so hold results as large as the weights for this session alone.
   */
  readonly disabledOptimizers?: readonly string[];
  /** Default "all". */
  readonly optimization?: OptimizationLevel;
  /** Start of the path of a profile in Chrome's trace format, written when the session is disposed. */
  readonly profile?: string;
}

/** How one run of a session is done, and what ends it early. */
export interface RunOptions {
  /** Ends the run between two of its operators; the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Whether to run on this thread: for runs shorter than about a millisecond. No signal is seen meanwhile. */
  readonly sync?: boolean;
}

/** A model that is ready to run on a device. Runs of one session may overlap. */
export interface Session {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  /**
   * Computes every output from every input.
   *
   * Outputs that are given are written in place, and may be the very tensor of an input: right for graphs that read an
   * element of it for the last time when they write that element. The others come in new memory of the host, which their
   * tensors own. The work happens on another thread unless `sync`; inputs must not change meanwhile.
   *
   * After a failed or ended run the given outputs may hold anything.
   *
   * @throws {RangeError} {TypeError} naming every tensor whose name, dtype or shape is not the model's
   * @throws the runtime's error if the computation fails; the signal's reason if it was ended
   */
  run(
    inputs: Readonly<Record<string, Tensor>>,
    outputs?: Readonly<Record<string, Tensor>>,
    options?: RunOptions,
  ): Promise<Record<string, Tensor>>;
  /** Of a session whose parts have hooks: calls them as a run does, without computing anything. */
  accompany?(): Promise<void>;
  /**
   * Releases the session; runs that are in flight end first, and keep it until then. May be called again.
   * Afterwards `run` throws. The initializers' tensors are untouched.
   */
  dispose(): void;
}
