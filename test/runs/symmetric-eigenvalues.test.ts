import test from "ava";
import { randomStream } from "../../src/core/random.js";
import {
  countEigenvaluesBelow,
  largestEigenvalue,
  tridiagonalize,
} from "../../src/runs/symmetric-eigenvalues.js";

/** Q diag(values) Q^T with Q a product of random reflections. */
const withEigenvalues = (values: readonly number[]): Float64Array => {
  const n = values.length;
  const stream = randomStream(3, "eigenvalues");
  const matrix = new Float64Array(n * n);
  values.forEach((value, i) => (matrix[i * n + i] = value));
  for (let reflection = 0; reflection < 3; reflection++) {
    const raw = Array.from({ length: n }, () => stream.normal());
    const length = Math.hypot(...raw);
    const v = raw.map((x) => x / length);
    // (1 - 2 v v^T) M (1 - 2 v v^T), one side after the other.
    for (const [row, column] of [
      [1, n],
      [n, 1],
    ] as const)
      for (let i = 0; i < n; i++) {
        const at = (j: number): number => i * row + j * column;
        const dot = v.reduce((sum, x, j) => sum + x * (matrix[at(j)] as number), 0);
        v.forEach((x, j) => (matrix[at(j)] = (matrix[at(j)] as number) - 2 * dot * x));
      }
  }
  return matrix;
};

const cases: Readonly<Record<string, readonly number[]>> = {
  "of both signs": [-7, -2.5, -1e-3, 0.25, 1, 4, 30],
  "that repeat": [2, 2, 2, 5, 5, 0, 0, 0],
  "of a wide range": [1e-6, 1e-3, 1, 1e3, 1e6],
  "of a single element": [3],
  "of two rows": [-1, 4],
};
for (const [title, values] of Object.entries(cases))
  test(`tridiagonalize keeps eigenvalues ${title}`, (t) => {
    const n = values.length;
    const largest = Math.max(...values);
    const tiny = 1e-13 * Math.max(...values.map(Math.abs));
    const matrix = tridiagonalize(withEigenvalues(values), n);
    t.true(Math.abs(largestEigenvalue(matrix) - largest) <= tiny);
    for (const value of values) {
      t.is(
        countEigenvaluesBelow(matrix, value - tiny),
        values.filter((other) => other < value).length,
      );
      t.is(
        countEigenvaluesBelow(matrix, value + tiny),
        values.filter((other) => other <= value).length,
      );
    }
  });

test("tridiagonalize reads a diagonal and a zero matrix", (t) => {
  const diagonal = tridiagonalize(Float64Array.of(1, 0, 0, 0, 5, 0, 0, 0, 3), 3);
  t.is(largestEigenvalue(diagonal), 5);
  t.is(countEigenvaluesBelow(diagonal, 4), 2);
  const zero = tridiagonalize(new Float64Array(16), 4);
  t.is(largestEigenvalue(zero), 0);
  t.is(countEigenvaluesBelow(zero, 1), 4);
});

test("tridiagonalize reads the upper triangle alone", (t) => {
  const whole = tridiagonalize(Float64Array.of(4, 1, 2, 1, 3, 5, 2, 5, 6), 3);
  const upper = tridiagonalize(Float64Array.of(4, 1, 2, NaN, 3, 5, NaN, NaN, 6), 3);
  t.deepEqual(upper, whole);
});

test("tridiagonalize refuses a matrix of another size", (t) => {
  t.throws(() => tridiagonalize(new Float64Array(6), 3), {
    instanceOf: RangeError,
    message: "Cannot tridiagonalize: found 6 elements, expected 3 x 3",
  });
});
