import { multiplyDims } from "../core/dim.js";
import type { DType } from "../core/dtype.js";
import type { Graph } from "../graph/graph.js";
import type { Value } from "../graph/op.js";
import type { LinearModule } from "../models/model.js";
import { zeros } from "./init.js";
import { defineLinear } from "./method.js";
import { defineOptions } from "./option-group.js";
import { dropoutOptions } from "./options/dropout.js";
import { rankOptions, type RankOptions } from "./options/rank.js";

/** 1 shares rows and columns, for large ranks; 6 tells chunks apart by rotation, for small ones. */
export type MoraType = 1 | 6;

const typeOptions = defineOptions({
  phase: "trained",
  flags: {
    mora_type: {
      ours: true,
      kind: "integer",
      group: "Model and method",
      default: 6,
      choices: [1, 6],
      help: "How mora cuts the input: 6 rotates its pieces (small ranks), 1 adds them up (large ranks)",
    },
  },
  read: ({ mora_type: type }) => ({ moraType: type as MoraType }),
  valuesOf: ({ moraType }) => ({ mora_type: moraType }),
});

/** What the flags say of M. */
export type MoraOptions = RankOptions & (typeof typeOptions)["defaults"];

/** The side of M, which has about as many elements as LoRA's A and B of this rank together; even for type 6. */
export const moraSide = (
  { inFeatures, outFeatures }: Pick<LinearModule, "inFeatures" | "outFeatures">,
  { rank, moraType }: MoraOptions,
): number => {
  const side = Math.floor(Math.sqrt((inFeatures + outFeatures) * rank) + 0.5);
  return moraType === 6 ? Math.floor(side / 2) * 2 : side;
};

/** x [rows, in] in chunks of `side`, the last one filled up from x's own start: [rows, chunks, side]. */
const cutIntoChunks = (g: Graph, x: Value, side: number): Value => {
  const [rows = 0, inFeatures] = x.shape as [string | number, number];
  const chunks = Math.ceil(inFeatures / side);
  const missing = chunks * side - inFeatures;
  const full =
    missing === 0 ? x : g.concat([x, g.slice(x, { axis: 1, start: 0, end: missing })], 1);
  return g.reshape(full, [rows, chunks, side]);
};

/** Chunk j turned by the angles j / 10000^(2 i / side), the two halves of a chunk being the pairs' coordinates. */
const rotateChunks = (g: Graph, z: Value): Value => {
  const [, chunks = 0, side = 0] = z.shape as [string, number, number];
  const table = (turn: (angle: number) => number): Value =>
    g.cast(
      g.constant(
        "float32",
        [chunks, side],
        Float32Array.from({ length: chunks * side }, (_, at) => {
          const [chunk, i] = [Math.floor(at / side), (at % side) % (side / 2)];
          return turn(chunk / 10000 ** ((2 * i) / side));
        }),
      ),
      z.dtype,
    );
  const half = (start: number): Value => g.slice(z, { axis: 2, start, end: start + side / 2 });
  const swapped = g.concat([g.neg(half(side / 2)), half(0)], 2);
  return g.add(g.mul(z, table(Math.cos)), g.mul(swapped, table(Math.sin)));
};

/** y [rows, width] laid end to end as often as needed, and cut to `outFeatures`. */
const repeatTo = (g: Graph, y: Value, outFeatures: number): Value => {
  const width = y.shape[1] as number;
  const copies = Array.from({ length: Math.ceil(outFeatures / width) }, () => y);
  return g.slice(g.concat(copies, 1), { axis: 1, start: 0, end: outFeatures });
};

interface UpdateOptions {
  readonly outFeatures: number;
  readonly type: MoraType;
  /** A factor of the result. */
  readonly alpha?: number;
}

/** alpha * decompress(compress(x) M^T): [rows, outFeatures]. */
const update = (
  g: Graph,
  x: Value,
  M: Value,
  { outFeatures, type, alpha = 1 }: UpdateOptions,
): Value => {
  const side = M.shape[0] as number;
  const z = cutIntoChunks(g, x, side);
  if (type === 1)
    return repeatTo(
      g,
      g.matmul(g.reduceSum(z, { axes: [1] }), M, { transB: true, alpha }),
      outFeatures,
    );
  const [rows = 0, chunks = 0] = z.shape;
  const turned = g.reshape(rotateChunks(g, z), [multiplyDims(rows, chunks), side]);
  const y = g.reshape(g.matmul(turned, M, { transB: true, alpha }), [rows, Number(chunks) * side]);
  return repeatTo(g, y, outFeatures);
};

/** The identity matrix. */
const identity = (g: Graph, size: number, dtype: DType): Value => {
  const numbers = g.integers([...Array(size).keys()]);
  const [row, column] = [g.reshape(numbers, [1, size]), g.reshape(numbers, [size, 1])];
  const [zero, one] = [g.scalar(0, dtype), g.scalar(1, dtype)];
  const below = g.where(g.lessOrEqual(row, column), one, zero);
  return g.where(g.lessOrEqual(column, row), below, zero);
};

/**
 * MoRA: y = x W0^T + bias + decompress(compress(x) M^T), M a square matrix of side sqrt((in + out) * rank).
 *
 * Type 1 (sharing): compress adds up the chunks of x, decompress repeats the result. Type 6 (rotary): every chunk is turned
 * by its own angles and goes through M alone; the results stand end to end. Both are linear in x, so the merged weight is
 * W0 plus the update of the identity matrix. M starts at zero, so an untrained adapter leaves the model as it was.
 * Source: Jiang et al., "MoRA", equations 6 and 9; _apply_mora of kongds/MoRA. The scale is 1 there, whatever alpha.
 */
export const mora = defineLinear({
  kind: "linear",
  name: "mora",
  groups: [rankOptions, typeOptions, dropoutOptions],
  parameters(module, options) {
    const side = moraSide(module, options);
    return { M: { shape: [side, side], ownAxes: [0, 1], init: zeros, trainable: true } };
  },
  unfit: (module, options) =>
    options.rank < 1 || moraSide(module, options) > module.inFeatures
      ? "a rank from 1 on, with which sqrt((in + out) * rank) is at most in"
      : undefined,
  linear: (g, x, { weight, bias }, { M }, { moraType }, dropout) =>
    g.add(
      g.linear(x, weight, bias),
      update(g, dropout.apply(x), M as Value, {
        outFeatures: weight.shape[0] as number,
        type: moraType,
        alpha: dropout.scale,
      }),
    ),
  mergedWeight(g, weight, { M }, { moraType }) {
    const [outFeatures, inFeatures] = weight.shape as [number, number];
    const every = identity(g, inFeatures, weight.dtype);
    const columns = update(g, every, M as Value, { outFeatures, type: moraType }); // [in, out]
    return g.add(weight, g.transpose(columns, [1, 0]));
  },
});
