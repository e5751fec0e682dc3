import { dtypes, elementCount, isFloat, type DType } from "../../core/dtype.js";
import { UserError } from "../../core/errors.js";
import { widenBfloat16, widenFloat16 } from "../../core/half.js";
import type { Graph } from "../../graph/graph.js";
import type { Value } from "../../graph/op.js";
import { MappedFile } from "../../runtime/mapped-file.js";
import { Tensor } from "../../runtime/tensor.js";
import type { WeightCodec } from "./codec.js";
import { packedCodec, packWeight, type Packing } from "./packed-weight.js";
import { readTensorAsFloat32, type TensorEntry } from "./safetensors.js";
import { turnedCodec, turnMatrix, turnSizes } from "./turned-codec.js";

/** What a graph has to know of a weight before it reads it. */
export interface WeightType {
  /** Of the tensor itself; float32 where it is encoded. */
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Set where the memory holds something else, from which the graph computes the tensor. */
  readonly codec?: WeightCodec | undefined;
}

/** The frozen tensors of a model in memory, one copy for all sessions of the process. */
export interface FrozenWeights {
  /**
   * A tensor of the model, or a part of an encoded one (its codec says how those are called): the memory that sessions are given.
   * The name of an encoded tensor itself gives a float32 copy, decoded at every call: what a merge starts from.
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

/** Bytes of a tensor in its own dtype; float32's where it is encoded. */
export const bytesOf = ({ dtype, shape }: Pick<WeightType, "dtype" | "shape">): number =>
  dtypes[dtype].bytes * elementCount(shape);

/** Which of a model's tensors are held packed, and how. */
export interface PackingPlan {
  readonly packing: Packing;
  readonly names: ReadonlySet<string>;
  /** Those of them that are stored [in, out]; they are packed as [out, in]. */
  readonly turned?: ReadonlySet<string>;
}

interface EncodedTensor {
  readonly type: WeightType & { readonly codec: WeightCodec };
  readonly parts: readonly Tensor[];
}

const unknownWeight = (name: string): RangeError =>
  new RangeError(`Cannot find the weight "${name}": the model has none of that name`);

/**
 * Maps a model's tensors into memory, as they are stored (`--load_bit=16`) or widened to float32 (`--load_bit=32`). Those of
 * `pack` are quantized instead, one after the other, so that no two of them are in float32 at a time. Of a tensor whose entry
 * has a codec, the mapped bytes are seen through the codec's parts: nothing of it is decoded here.
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
  const encoded = new Map<string, EncodedTensor>();
  const parts = new Map<string, Tensor>();
  const encode = (
    name: string,
    { shape }: TensorEntry,
    codec: WeightCodec,
    held: readonly Tensor[],
  ): void => {
    encoded.set(name, { type: { dtype: "float32", shape, codec }, parts: held });
    codec.parts(shape).forEach(({ suffix }, i) => parts.set(`${name}${suffix}`, held[i] as Tensor));
  };
  const fileOf = (path: string): MappedFile => {
    const file = files.get(path) ?? MappedFile.open(path);
    files.set(path, file);
    return file;
  };
  let ownedBytes = 0;
  for (const [name, entry] of entries) {
    const { shape } = entry;
    if (pack?.names.has(name)) {
      const data = await readTensorAsFloat32(entry);
      const turns = pack.turned?.has(name) ?? false;
      const held = turns
        ? packWeight(name, turnSizes(shape), turnMatrix(data, shape), pack.packing)
        : packWeight(name, shape, data, pack.packing);
      const codec = packedCodec(pack.packing);
      encode(name, entry, turns ? turnedCodec(codec) : codec, held);
      ownedBytes += held.reduce((sum, { byteLength }) => sum + byteLength, 0);
      continue;
    }
    const { codec, byteOffset } = entry;
    if (storage === "float32" && (codec || entry.dtype !== "float32")) {
      const data = await readTensorAsFloat32(entry);
      ownedBytes += data.byteLength;
      tensors.set(name, Tensor.fromArray("float32", entry.shape, data));
      continue;
    }
    const file = fileOf(entry.file);
    const view = (dtype: DType, size: readonly number[]): Tensor =>
      Tensor.fromMapped(file, byteOffset, dtype, size);
    if (codec)
      encode(
        name,
        entry,
        codec,
        codec.parts(shape).map((part) => view(part.dtype, part.shape)),
      );
    else tensors.set(name, view(entry.dtype, shape));
  }
  const decoded = (name: string): Tensor => {
    const found = encoded.get(name);
    if (!found) throw unknownWeight(name);
    const { shape, codec } = found.type;
    const data = codec.unpack(
      found.parts.map((part) => part.data),
      shape,
    );
    return Tensor.fromArray("float32", shape, data);
  };
  return {
    tensor: (name) => tensors.get(name) ?? parts.get(name) ?? decoded(name),
    typeOf(name) {
      const type = tensors.get(name) ?? encoded.get(name)?.type;
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

/** A graph's access to frozen tensors, whichever way they are held. */
export interface WeightAccess {
  /**
   * A tensor in float32; narrower ones are widened, and encoded ones decoded, each time they are needed, in forward and
   * backward alike.
   * `kept`: once for both, for a tensor that backward needs right after forward.
   */
  weight(name: string, options?: { readonly kept?: boolean }): Value;
  /** Rows of a table in float32; only the rows are widened or decoded. */
  embed(name: string, ids: Value): Value;
  /** Whether a matrix is worth reading a part of its rows at a time, by `embed`: narrower than float32, and each row by itself. */
  narrowRows?(name: string): boolean;
}

/** Reads a model's frozen tensors inside a graph: each becomes an external initializer, or a few, when first asked for. */
export const accessFrozenWeights = (
  g: Graph,
  typeOf: (name: string) => WeightType,
): WeightAccess => {
  const stored = (name: string, { dtype, shape }: WeightType): Value =>
    g.weights.get(name) ?? g.weight(name, dtype, shape);
  const partsOf = (name: string, codec: WeightCodec, shape: readonly number[]): readonly Value[] =>
    codec.parts(shape).map((part) => stored(`${name}${part.suffix}`, part));
  const inFloat32 = (name: string): Value => {
    const type = typeOf(name);
    const { shape, codec } = type;
    return codec
      ? codec.inGraph(g, partsOf(name, codec, shape), shape)
      : g.cast(stored(name, type), "float32");
  };
  return {
    weight: (name, { kept = false } = {}) =>
      kept ? inFloat32(name) : g.cheap(() => inFloat32(name)),
    narrowRows(name) {
      const { dtype, codec } = typeOf(name);
      return codec ? codec.byRow : dtype !== "float32";
    },
    embed(name, ids) {
      const type = typeOf(name);
      const { codec, shape } = type;
      const rowsOf = (table: Value): Value => g.gather(table, ids, { axis: 0 });
      if (!codec) return g.cast(rowsOf(stored(name, type)), "float32");
      if (!codec.byRow) return rowsOf(inFloat32(name));
      const rows = partsOf(name, codec, shape).map(rowsOf);
      return codec.inGraph(g, rows, [...ids.shape, ...shape.slice(1)]);
    },
  };
};

/** The initializers of a session: the memory of every weight that the graph reads. */
export const initializersOf = (
  g: Graph,
  weights: Pick<FrozenWeights, "tensor">,
): Readonly<Record<string, Tensor>> =>
  Object.fromEntries([...g.weights.keys()].map((name) => [name, weights.tensor(name)]));
