import type { WeightCodec } from "./codec.js";

type Matrix = readonly [rows: number, columns: number];

const sizesOf = (shape: readonly number[]): Matrix => [shape[0] ?? 0, shape[1] ?? 0];

/** A matrix [rows, columns] with its axes exchanged: [columns, rows]. */
export const turnMatrix = (data: Float32Array, shape: readonly number[]): Float32Array => {
  const [rows, columns] = sizesOf(shape);
  const turned = new Float32Array(data.length);
  for (let row = 0, i = 0; row < rows; row++)
    for (let column = 0; column < columns; column++, i++)
      turned[column * rows + row] = data[i] ?? NaN;
  return turned;
};

/** The sizes of a matrix with its axes exchanged. */
export const turnSizes = (shape: readonly number[]): Matrix => {
  const [rows, columns] = sizesOf(shape);
  return [columns, rows];
};

/**
 * A codec of matrices that are encoded with their axes exchanged: of [in, out] what it holds is [out, in], so that blocks and
 * scales run along the inputs, as in a layer that is stored so.
 */
export const turnedCodec = (codec: WeightCodec): WeightCodec => ({
  name: `turned ${codec.name}`,
  parts: (shape) => codec.parts(turnSizes(shape)),
  byRow: false,
  inGraph: (g, parts, shape) => {
    const [rows = 0, columns = 0] = shape;
    return g.turn(codec.inGraph(g, parts, [columns, rows]));
  },
  unpack: (parts, shape) => turnMatrix(codec.unpack(parts, turnSizes(shape)), turnSizes(shape)),
});
