import { randomStream } from "../core/random.js";

/** The base model's tensors in float32, by name: what start values may depend on. */
export type BaseTensors = (name: string) => Float32Array;

/**
 * Fills a tensor of the given shape with start values, as a pure function of (seed, parameter name) and, for a few
 * methods, of the model's own tensors.
 */
export type Initializer = (
  shape: readonly number[],
  seed: number,
  name: string,
  base?: BaseTensors,
) => Float32Array;

const count = (shape: readonly number[]): number => shape.reduce((n, dim) => n * dim, 1);

/** 0 everywhere, float32. */
export const zeros: Initializer = (shape) => new Float32Array(count(shape));

/** 1 everywhere, float32. */
export const ones: Initializer = (shape) => new Float32Array(count(shape)).fill(1);

/** A tensor of what `draw` gives, one after the other: Float32Array.from takes twice as long. */
const filled = (shape: readonly number[], draw: () => number): Float32Array => {
  const values = new Float32Array(count(shape));
  for (let i = 0; i < values.length; i++) values[i] = draw();
  return values;
};

/** Uniform in [low, high). */
export const uniform =
  (low: number, high: number): Initializer =>
  (shape, seed, name) => {
    const stream = randomStream(seed, `init:${name}`);
    return filled(shape, () => low + (high - low) * stream.uniform());
  };

/** Normal with the given standard deviation. */
export const normal =
  (std: number): Initializer =>
  (shape, seed, name) => {
    const stream = randomStream(seed, `init:${name}`);
    return filled(shape, () => std * stream.normal());
  };

/**
 * Kaiming uniform with slope sqrt(5), which is uniform in +-1/sqrt(fanIn); fanIn is the last axis.
 *
 * Source: He et al., "Delving Deep into Rectifiers"; torch.nn.init.kaiming_uniform_(a=math.sqrt(5)).
 */
export const kaimingUniform: Initializer = (shape, seed, name) => {
  const bound = 1 / Math.sqrt(shape.at(-1) ?? 1);
  return uniform(-bound, bound)(shape, seed, name);
};

/** A tensor of the base model. @throws {RangeError} where an adapter is filled without its model */
export const requireBase = (base: BaseTensors | undefined, tensor: string): Float32Array => {
  if (!base) throw new RangeError(`Cannot start from "${tensor}": found no base model`);
  return base(tensor);
};

/** The Euclidean norm of every row of one of the model's matrices [rows, ...]: [rows]. */
export const rowNormsOf =
  (tensor: string): Initializer =>
  ([rows = 0], _seed, _name, base) => {
    const data = requireBase(base, tensor);
    const width = data.length / rows;
    return Float32Array.from({ length: rows }, (_, row) => {
      let square = 0;
      for (let i = row * width; i < (row + 1) * width; i++) square += (data[i] ?? 0) ** 2;
      return Math.sqrt(square);
    });
  };

/** The Euclidean norm of every column of one of the model's matrices [rows, columns]: [columns]. */
export const columnNormsOf =
  (tensor: string): Initializer =>
  ([columns = 0], _seed, _name, base) => {
    const data = requireBase(base, tensor);
    const squares = new Float64Array(columns);
    for (const [i, value] of data.entries())
      squares[i % columns] = (squares[i % columns] ?? 0) + value ** 2;
    return Float32Array.from(squares, Math.sqrt);
  };
