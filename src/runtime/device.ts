import type { DType, TypedArray } from "../core/dtype.js";
import type { Precision } from "../core/precision.js";
import type { Graph } from "../graph/graph.js";
import type { GraphPrecision } from "../graph/passes/in-precision.js";
import type { HasKernel } from "../graph/passes/lower.js";
import type { Session, SessionOptions } from "./session.js";
import type { MemoryPlace, Tensor } from "./tensor.js";

/** What computes, as --device names it. */
export const deviceNames = ["cpu", "openvino", "cuda", "webgpu"] as const;

/** The name of a device, without the number of a card. */
export type DeviceName = (typeof deviceNames)[number];

/** Where sessions run, and where the tensors are that they write: one provider of one runtime. */
export interface Device {
  readonly name: DeviceName;
  /** What it is, with the versions that matter, for lines and records: "CPU, ONNX Runtime 1.30.0". */
  readonly description: string;
  /** Where tensors of `zeros` and `upload` are. "host": any code can read them in place. */
  readonly place: MemoryPlace;
  /** Whether a tensor may be a stretch of another one's memory (Tensor.view). */
  readonly canSlice: boolean;
  /** The precisions that it computes in. */
  readonly precisions: readonly Precision[];
  /** How a graph is typed for a precision; undefined: in float32, for the session itself to compute in it. Default: all so. */
  graphPrecision?(precision: Precision): GraphPrecision | undefined;
  /** Whether frozen weights come to its graphs in float32, however they are stored: see weightsOn. Default false. */
  readonly decodesWeights?: boolean;
  /**
   * Whether a run writes every element of an output that is the very tensor of an input, where others write those that the graph changes:
   * what grows is then better appended to by the host. For devices in host memory. Default false.
   */
  readonly rewritesOutputs?: boolean;
  /** What it lacks, or computes wrong, is written in other ops: see lower. */
  readonly hasKernel: HasKernel;
  /** Whether a training step runs layer by layer (openLayers): for devices that compute in host memory. Default false. */
  readonly cutsByLayer?: boolean;
  /** The lowered graph in the form that this device computes right; default: as it is. */
  rewrite?(graph: Graph): Graph;
  /**
   * Loads and optimizes a model, on another thread. Frozen weights, wherever they are, end up where the device reads them.
   *
   * @throws {RangeError} {TypeError} if the bytes are no model, or `initializers` are not what it leaves open (all at once)
   */
  createSession(options: SessionOptions): Promise<Session>;
  /** A tensor of zeros in memory of its own. @throws {RangeError} on a shape that is none */
  zeros(dtype: DType, shape: readonly number[]): Tensor;
  /** The same elements where the device's sessions write them; the very tensor where it is there already. */
  upload(tensor: Tensor): Tensor;
  /** The elements: in place if the tensor is in host memory, else a copy, after all runs that write them. */
  read(tensor: Tensor): TypedArray;
  /** Replaces all elements. @throws {RangeError} {TypeError} unless `data` has the tensor's dtype and length */
  write(tensor: Tensor, data: TypedArray): void;
  /** Gives back what the device holds beside tensors and sessions; these go by themselves. */
  dispose(): void;
}
