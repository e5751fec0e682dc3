import { dtypes, elementCount, isFloat, type DType } from "../../core/dtype.js";
import { UserError } from "../../core/errors.js";
import { widenBfloat16, widenFloat16 } from "../../core/half.js";
import type { Graph } from "../../graph/graph.js";
import type { Value } from "../../graph/op.js";
import { MappedFile } from "../../runtime/mapped-file.js";
import { Tensor } from "../../runtime/tensor.js";
import { makeTables, packWeight, partsOf, unpackInGraph, unpackWeight } from "./packed-weight.js";
import type { Packing, Tables } from "./packed-weight.js";
import type { FourBitType } from "./quantize.js";
import { readTensorAsFloat32, type TensorEntry } from "./safetensors.js";

/** What a graph has to know of a weight before it reads it. */
export interface WeightType {
  /** Of the tensor itself; float32 where it is packed. */
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Set where the memory holds packed codes, from which the graph computes the tensor. */
  readonly packing?: Packing | undefined;
}

/** The frozen tensors of a model in memory, one copy for all sessions of the process. */
export interface FrozenWeights {
  /**
   * A tensor of the model, or a part of a packed one (partsOf says how those are called): the memory that sessions are given.
   * The name of a packed tensor itself gives a float32 copy, unpacked at every call: what a merge starts from.
   *
   * @throws {RangeError} on an unknown name
   */
  tensor(name: string): Tensor;
  /** dtype and shape of the model's tensor. @throws {RangeError} on an unknown name */
  typeOf(name: string): WeightType;
  /** The model's tensors; parts are not among them. */
  readonly names: Iterable<string>;
  /** Bytes that the tensors hold in the process's own memory; mapped files count as nothing. */
  readonly ownedBytes: number;
}

/** Bytes of a tensor in its own dtype; float32's where it is packed. */
export const bytesOf = ({ dtype, shape }: Pick<WeightType, "dtype" | "shape">): number =>
  dtypes[dtype].bytes * elementCount(shape);

/** Which of a model's tensors are held packed, and how. */
export interface PackingPlan {
  readonly packing: Packing;
  readonly names: ReadonlySet<string>;
}

interface PackedTensor {
  readonly type: WeightType & { readonly packing: Packing };
  readonly parts: readonly Tensor[];
}

const unknownWeight = (name: string): RangeError =>
  new RangeError(`Cannot find the weight "${name}": the model has none of that name`);

/**
 * Maps a model's tensors into memory, as they are stored (`--load_bit=16`) or widened to float32 (`--load_bit=32`). Those of
 * `pack` are quantized instead, one after the other, so that no two of them are in float32 at a time.
 *
 * Mapped pages belong to the file: the system shares them between processes and drops them when memory is short.
 * @throws {UserError} on a dtype that no model computes with, and on packed values that are not finite
 */
export const openFrozenWeights = async (
  entries: ReadonlyMap<string, TensorEntry>,
  { storage, pack }: { readonly storage: "stored" | "float32"; readonly pack?: PackingPlan },
): Promise<FrozenWeights> => {
  const odd = [...entries.values()].filter(({ dtype }) => !isFloat(dtype) || dtype === "float64");
  if (odd.length > 0)
    throw new UserError(
      `Cannot use ${odd.map(({ name, dtype }) => `"${name}" (${dtype})`).join(", ")}: expected float32, bfloat16 or float16`,
      "Quantized and double-precision checkpoints are not read: convert them first",
    );
  const files = new Map<string, MappedFile>();
  const tensors = new Map<string, Tensor>();
  const packed = new Map<string, PackedTensor>();
  const parts = new Map<string, Tensor>();
  let ownedBytes = 0;
  for (const [name, entry] of entries) {
    const { shape } = entry;
    if (pack?.names.has(name)) {
      const { packing } = pack;
      const held = packWeight(name, shape, await readTensorAsFloat32(entry), packing);
      packed.set(name, { type: { dtype: "float32", shape, packing }, parts: held });
      partsOf(shape, packing).forEach(({ suffix }, i) =>
        parts.set(`${name}${suffix}`, held[i] as Tensor),
      );
      ownedBytes += held.reduce((sum, { byteLength }) => sum + byteLength, 0);
      continue;
    }
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
  const unpacked = (name: string): Tensor => {
    const found = packed.get(name);
    if (!found) throw unknownWeight(name);
    const { shape, packing } = found.type;
    return Tensor.fromArray("float32", shape, unpackWeight(found.parts, shape, packing));
  };
  return {
    tensor: (name) => tensors.get(name) ?? parts.get(name) ?? unpacked(name),
    typeOf(name) {
      const type = tensors.get(name) ?? packed.get(name)?.type;
      if (!type) throw unknownWeight(name);
      return type;
    },
    names: [...entries.keys()],
    ownedBytes,
  };
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
  typeOf: (name) => replacements.get(name) ?? base.typeOf(name),
  names: new Set([...base.names, ...replacements.keys()]),
  ownedBytes: [...replacements.values()].reduce(
    (sum, { byteLength }) => sum + byteLength,
    base.ownedBytes,
  ),
});

export interface WeightAccess {
  /**
   * A tensor in float32; narrower ones are widened, and packed ones unpacked, each time they are needed, in forward and
   * backward alike.
   * `kept`: once for both, for a tensor that backward needs right after forward.
   */
  weight(name: string, options?: { readonly kept?: boolean }): Value;
  /** Rows of a table in float32; only the rows are widened. */
  embed(name: string, ids: Value): Value;
}

/** Reads a model's frozen tensors inside a graph: each becomes an external initializer, or a few, when first asked for. */
export const accessFrozenWeights = (
  g: Graph,
  typeOf: (name: string) => WeightType,
): WeightAccess => {
  const stored = (name: string, { dtype, shape }: WeightType): Value =>
    g.weights.get(name) ?? g.weight(name, dtype, shape);
  const known = new Map<FourBitType, Tables>();
  const tables = (type: FourBitType): Tables => {
    const made = known.get(type) ?? makeTables(g, type);
    known.set(type, made);
    return made;
  };
  const inFloat32 = (name: string): Value => {
    const type = typeOf(name);
    const { shape, packing } = type;
    if (!packing) return g.cast(stored(name, type), "float32");
    const parts = partsOf(shape, packing).map((part) => stored(`${name}${part.suffix}`, part));
    return unpackInGraph(g, parts, shape, packing, tables);
  };
  return {
    weight: (name, { kept = false } = {}) =>
      kept ? inFloat32(name) : g.cheap(() => inFloat32(name)),
    embed: (name, ids) => {
      const rows = g.gather(stored(name, typeOf(name)), ids, { axis: 0 });
      return g.cast(rows, "float32");
    },
  };
};

/** The initializers of a session: the memory of every weight that the graph reads. */
export const initializersOf = (
  g: Graph,
  weights: Pick<FrozenWeights, "tensor">,
): Readonly<Record<string, Tensor>> =>
  Object.fromEntries([...g.weights.keys()].map((name) => [name, weights.tensor(name)]));
