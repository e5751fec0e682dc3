import type { Dim } from "../../core/dim.js";
import type { DType, TypedArray } from "../../core/dtype.js";
import type { Graph } from "../../graph/graph.js";
import type { Value } from "../../graph/op.js";

/** One of the tensors that hold an encoded matrix, by what follows the matrix's name. */
export interface CodecPart {
  readonly suffix: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** How a frozen tensor's numbers follow from what is stored in their place: to float32, in a graph or here. */
export interface WeightCodec {
  /** Two codecs of one name decode alike. */
  readonly name: string;
  /** The tensors that hold one of `shape`. */
  parts(shape: readonly number[]): readonly CodecPart[];
  /** Whether each part has an entry a row of the table, so that a graph can decode some of the rows. */
  readonly byRow: boolean;
  /** The float32 values of `shape`, computed from the parts; the first size may be a name where the codec is byRow, or several. */
  inGraph(g: Graph, parts: readonly Value[], shape: readonly Dim[]): Value;
  /** The same values here. */
  unpack(parts: readonly TypedArray[], shape: readonly number[]): Float32Array;
}

/** A codec whose parts are views of the very bytes of a file. */
export interface StoredCodec extends WeightCodec {
  /** Bytes that a tensor of `shape` takes; every part begins at their first. */
  byteLength(shape: readonly number[]): number;
}
