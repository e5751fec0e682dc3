import { isFloat, type DType } from "../../core/dtype.js";
import { UserError } from "../../core/errors.js";
import { widenBfloat16, widenFloat16 } from "../../core/half.js";
import type { Graph } from "../../graph/graph.js";
import type { Value } from "../../graph/op.js";
import { MappedFile } from "../../runtime/mapped-file.js";
import { Tensor } from "../../runtime/tensor.js";
import { readTensorAsFloat32, type TensorEntry } from "./safetensors.js";

/** The frozen tensors of a model in memory, one copy for all sessions of the process. */
export interface FrozenWeights {
  /** dtype and shape of the memory that a session is given. @throws {RangeError} on an unknown name */
  tensor(name: string): Tensor;
  readonly names: Iterable<string>;
  /** Bytes that the tensors hold in the process's own memory; mapped files count as nothing. */
  readonly ownedBytes: number;
}

const requireTensor = (tensors: ReadonlyMap<string, Tensor>, name: string): Tensor => {
  const tensor = tensors.get(name);
  if (!tensor)
    throw new RangeError(`Cannot find the weight "${name}": the model has none of that name`);
  return tensor;
};

/**
 * Maps a model's tensors into memory, as they are stored (`--load_bit=16`) or widened to float32 (`--load_bit=32`).
 *
 * Mapped pages belong to the file: the system shares them between processes and drops them when memory is short.
 * @throws {UserError} on a dtype that no model computes with
 */
export const openFrozenWeights = async (
  entries: ReadonlyMap<string, TensorEntry>,
  { storage }: { readonly storage: "stored" | "float32" },
): Promise<FrozenWeights> => {
  const odd = [...entries.values()].filter(({ dtype }) => !isFloat(dtype) || dtype === "float64");
  if (odd.length > 0)
    throw new UserError(
      `Cannot use ${odd.map(({ name, dtype }) => `"${name}" (${dtype})`).join(", ")}: expected float32, bfloat16 or float16`,
      "Quantized and double-precision checkpoints are not read: convert them first",
    );
  const files = new Map<string, MappedFile>();
  const tensors = new Map<string, Tensor>();
  let ownedBytes = 0;
  for (const [name, entry] of entries) {
    if (storage === "float32" && entry.dtype !== "float32") {
      const data = await readTensorAsFloat32(entry);
      ownedBytes += data.byteLength;
      tensors.set(name, Tensor.fromArray("float32", entry.shape, data));
      continue;
    }
    const file = files.get(entry.file) ?? MappedFile.open(entry.file);
    files.set(entry.file, file);
    tensors.set(name, Tensor.fromMapped(file, entry.byteOffset, entry.dtype, entry.shape));
  }
  return { tensor: (name) => requireTensor(tensors, name), names: tensors.keys(), ownedBytes };
};

/** A tensor's elements in float32: its own memory where it has that dtype, else a widened copy. */
export const widened = ({ dtype, data }: Pick<Tensor, "dtype" | "data">): Float32Array => {
  if (dtype === "bfloat16") return widenBfloat16(data as Uint16Array);
  if (dtype === "float16") return widenFloat16(data as Uint16Array);
  return data as Float32Array;
};

/** A model's tensors in float32 by name, for start values that depend on them. */
export const float32Tensors =
  (weights: Pick<FrozenWeights, "tensor">) =>
  (name: string): Float32Array =>
    widened(weights.tensor(name));

/** The same weights with some tensors replaced or added, as when an adapter is merged into them. */
export const replaceWeights = (
  base: FrozenWeights,
  replacements: ReadonlyMap<string, Tensor>,
): FrozenWeights => ({
  tensor: (name) => replacements.get(name) ?? base.tensor(name),
  names: new Set([...base.names, ...replacements.keys()]),
  ownedBytes: [...replacements.values()].reduce(
    (sum, { byteLength }) => sum + byteLength,
    base.ownedBytes,
  ),
});

export interface WeightAccess {
  /**
   * A tensor in float32; narrower ones are widened each time they are needed, in forward and backward alike.
   * `kept`: once for both, for a tensor that backward needs right after forward.
   */
  weight(name: string, options?: { readonly kept?: boolean }): Value;
  /** Rows of a table in float32; only the rows are widened. */
  embed(name: string, ids: Value): Value;
}

/** Reads a model's frozen tensors inside a graph: each becomes an external initializer when first asked for. */
export const accessFrozenWeights = (
  g: Graph,
  typeOf: (name: string) => { readonly dtype: DType; readonly shape: readonly number[] },
): WeightAccess => {
  const stored = (name: string): Value => {
    const known = g.weights.get(name);
    if (known) return known;
    const { dtype, shape } = typeOf(name);
    return g.weight(name, dtype, shape);
  };
  return {
    weight(name, { kept = false } = {}) {
      const widen = () => g.cast(stored(name), "float32");
      return kept ? widen() : g.cheap(widen);
    },
    embed: (name, ids) => g.cast(g.gather(stored(name), ids, { axis: 0 }), "float32"),
  };
};

/** The initializers of a session: the memory of every weight that the graph reads. */
export const initializersOf = (
  g: Graph,
  weights: Pick<FrozenWeights, "tensor">,
): Readonly<Record<string, Tensor>> =>
  Object.fromEntries([...g.weights.keys()].map((name) => [name, weights.tensor(name)]));
