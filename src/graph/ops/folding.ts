import { allocate, elementCount, type TypedArray } from "../../core/dtype.js";
import type { Elements } from "../op.js";

type Fold = (
  inputs: readonly Elements[],
  attrs: object,
  shape: readonly number[],
) => TypedArray | undefined;

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
export const offsetOf = (shape: readonly number[], place: readonly number[]): number =>
  shape.reduce(
    (offset, size, axis) =>
      offset * size + (size === 1 ? 0 : (place[place.length - shape.length + axis] ?? 0)),
    0,
  );

/** A tensor of elements that are taken from others. */
export const take = (
  x: Elements,
  shape: readonly number[],
  source: (place: readonly number[]) => number,
): TypedArray => {
  const data = allocate(x.dtype, elementCount(shape));
  let i = 0;
  for (const place of places(shape)) data[i++] = x.data[source(place)] as never;
  return data;
};

/**
 * How an elementwise op of two tensors of one dtype folds, with broadcasting; undefined from `whole` leaves the node.
 *
 * Float32 arithmetic is done in float64 and rounded by the array: that is the correctly rounded result.
 */
export const foldBinary =
  (
    real: (a: number, b: number) => number,
    whole: (a: bigint, b: bigint) => bigint | undefined,
  ): Fold =>
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

/** How an elementwise op of one floating-point tensor folds. */
export const foldUnary =
  (real: (x: number) => number): Fold =>
  ([x]) => {
    if (!x || x.data instanceof BigInt64Array) return undefined;
    const data = allocate(x.dtype, x.data.length);
    x.data.forEach((element, i) => (data[i] = real(element)));
    return data;
  };
