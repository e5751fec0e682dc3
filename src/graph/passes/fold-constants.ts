import type { Shape } from "../../core/dim.js";
import { allocate, elementCount, type DType, type TypedArray } from "../../core/dtype.js";
import type { Graph } from "../graph.js";
import { normalizeAxis, type TensorType } from "../op.js";
import type { OpName } from "../ops/registry.js";
import { copied, rewrite } from "./rewrite.js";

/** Larger results stay nodes: a table of zeros costs nothing to make and much to store. */
const MAX_ELEMENTS = 4096;

interface Elements extends TensorType {
  readonly shape: readonly number[];
  readonly data: TypedArray;
}

/** The elements of a node's only output, or undefined where they have no value here. */
type Fold = (inputs: readonly Elements[], attrs: object, shape: readonly number[]) => Folded;
type Folded = TypedArray | undefined;

/**
 * The graph in which nodes that read small constants alone are constants.
 *
 * Only ops whose result is exact or correctly rounded are folded, so that no bit of any output changes; float16 and
 * bfloat16 stay. Nodes and constants that nobody reads any more fall to `prune` and to the encoder.
 */
export const foldConstants = (graph: Graph): Graph =>
  rewrite(graph, (node, lookup, target) => {
    const [output] = node.outputs;
    const fold = folds[node.op as OpName];
    const shape = output?.shape;
    if (!output || !fold || !isSmall(shape) || !foldedTypes.has(output.dtype))
      return copied(node, lookup, target);
    const inputs = node.inputs.flatMap((input) => {
      const constant = target.constants.get(lookup(input).id);
      return constant && foldedTypes.has(input.dtype)
        ? [{ dtype: input.dtype, shape: input.shape as readonly number[], data: constant.data }]
        : [];
    });
    if (inputs.length < node.inputs.length) return copied(node, lookup, target);
    const data = fold(inputs, node.attrs, shape);
    return data ? [target.constant(output.dtype, shape, data)] : copied(node, lookup, target);
  });

const foldedTypes: ReadonlySet<DType> = new Set(["float32", "float64", "int64", "bool"]);

const isSmall = (shape: Shape | undefined): shape is readonly number[] =>
  shape !== undefined &&
  shape.every((dim) => typeof dim === "number") &&
  elementCount(shape) <= MAX_ELEMENTS;

/** For every element of `shape`, in order, its place along each axis. */
const places = function* (shape: readonly number[]): Generator<readonly number[]> {
  const place = shape.map(() => 0);
  for (let left = elementCount(shape); left > 0; left--) {
    yield place;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      place[axis] = ((place[axis] ?? 0) + 1) % (shape[axis] ?? 1);
      if (place[axis] !== 0) break;
    }
  }
};

/** Where an element lies in a tensor that is spread to the rank of `place`. */
const offsetOf = (shape: readonly number[], place: readonly number[]): number =>
  shape.reduce(
    (offset, size, axis) =>
      offset * size + (size === 1 ? 0 : (place[place.length - shape.length + axis] ?? 0)),
    0,
  );

/** A tensor of elements that are taken from others. */
const take = (
  x: Elements,
  shape: readonly number[],
  source: (place: readonly number[]) => number,
): TypedArray => {
  const data = allocate(x.dtype, elementCount(shape));
  let i = 0;
  for (const place of places(shape)) data[i++] = x.data[source(place)] as never;
  return data;
};

type Whole = (a: bigint, b: bigint) => bigint | undefined;
type Real = (a: number, b: number) => number;

/** Float32 arithmetic is done in float64 and rounded by the array: that is the correctly rounded result. */
const binary =
  (real: Real, whole: Whole): Fold =>
  (inputs, _attrs, shape) => {
    const [a, b] = inputs as readonly [Elements, Elements];
    const data = allocate(a.dtype, elementCount(shape));
    let i = 0;
    for (const place of places(shape)) {
      const x = a.data[offsetOf(a.shape, place)];
      const y = b.data[offsetOf(b.shape, place)];
      const z = typeof x === "bigint" ? whole(x, y as bigint) : real(x as number, y as number);
      if (z === undefined) return undefined;
      data[i++] = z;
    }
    return data;
  };

const unary =
  (real: (x: number) => number): Fold =>
  ([x]) => {
    if (!x || x.data instanceof BigInt64Array) return undefined;
    const data = allocate(x.dtype, x.data.length);
    x.data.forEach((element, i) => (data[i] = real(element)));
    return data;
  };

const same: Fold = ([x]) => x?.data;

const folds: Partial<Record<OpName, Fold>> = {
  Add: binary(
    (a, b) => a + b,
    (a, b) => a + b,
  ),
  Sub: binary(
    (a, b) => a - b,
    (a, b) => a - b,
  ),
  Mul: binary(
    (a, b) => a * b,
    (a, b) => a * b,
  ),
  Div: binary(
    (a, b) => a / b,
    (a, b) => (b === 0n ? undefined : a / b),
  ),
  Neg: unary((x) => -x),
  Sqrt: unary(Math.sqrt),
  Reciprocal: unary((x) => 1 / x),
  Identity: same,
  Reshape: same,
  Cast: ([x], attrs) => {
    const { to } = attrs as { to: DType };
    return x && cast(x, to);
  },
  Expand: ([x], _attrs, shape) => x && take(x, shape, (place) => offsetOf(x.shape, place)),
  Transpose: ([x], attrs, shape) => {
    const { perm } = attrs as { perm: readonly number[] };
    const inverse = perm.map((_, axis) => perm.indexOf(axis));
    return (
      x &&
      take(x, shape, (place) =>
        offsetOf(
          x.shape,
          inverse.map((axis) => place[axis] ?? 0),
        ),
      )
    );
  },
  Concat(inputs, attrs, shape) {
    const [first] = inputs;
    if (!first) return undefined;
    const axis = normalizeAxis("Concat", (attrs as { axis: number }).axis, first);
    const data = allocate(first.dtype, elementCount(shape));
    // Along the axis, each input gives its stretch of every row.
    const width = (sizes: readonly number[]) => elementCount(sizes.slice(axis));
    let start = 0;
    for (const { data: from, shape: sizes } of inputs) {
      const stretch = width(sizes);
      for (let row = 0; row * stretch < from.length; row++)
        data.set(
          from.subarray(row * stretch, (row + 1) * stretch) as never,
          row * width(shape) + start,
        );
      start += stretch;
    }
    return data;
  },
  Gather([x, indices], attrs, shape) {
    if (!x || !indices) return undefined;
    const axis = normalizeAxis("Gather", (attrs as { axis: number }).axis, x);
    const size = x.shape[axis] ?? 0;
    const rows = Array.from(indices.data, Number);
    if (rows.some((row) => row < -size || row >= size)) return undefined;
    const rank = indices.shape.length;
    return take(x, shape, (place) => {
      const row = rows[offsetOf(indices.shape, place.slice(axis, axis + rank))] ?? 0;
      const at = row < 0 ? row + size : row;
      return offsetOf(x.shape, [...place.slice(0, axis), at, ...place.slice(axis + rank)]);
    });
  },
  Slice([x], attrs, shape) {
    const { axis, start } = attrs as { axis: number; start: number };
    if (!x) return undefined;
    const along = normalizeAxis("Slice", axis, x);
    return take(x, shape, (place) =>
      offsetOf(
        x.shape,
        place.map((at, i) => (i === along ? at + start : at)),
      ),
    );
  },
};

/** undefined for a fraction that would have to become a whole number: how that is cut is the runtime's affair. */
const cast = ({ data: from }: Elements, to: DType): Folded => {
  const data = allocate(to, from.length);
  for (const [i, element] of from.entries()) {
    const number = Number(element);
    if (to === "bool") data[i] = Number(number !== 0);
    else if (!(data instanceof BigInt64Array)) data[i] = number;
    else if (Number.isSafeInteger(number)) data[i] = BigInt(element);
    else return undefined;
  }
  return data;
};
