import test from "ava";
import {
  addDims,
  broadcastShapes,
  canonicalDim,
  evaluateDim,
  multiplyDims,
  type Dim,
} from "../../src/core/dim.js";
import { randomStream } from "../../src/core/random.js";

const names = ["batch", "seq", "past"];
const sizes = { batch: 3, seq: 5, past: 7 };

/** A random polynomial, and the number that it stands for. */
const randomDim = (stream: ReturnType<typeof randomStream>): readonly [Dim, number] => {
  const terms = Array.from({ length: 1 + stream.integer(3) }, () => {
    const factors = [String(stream.integer(9) - 4)];
    for (let i = stream.integer(3); i > 0; i--) factors.push(names[stream.integer(3)] ?? "");
    return factors;
  });
  const value = terms.reduce(
    (sum, factors) =>
      sum +
      factors.reduce((product, factor) => {
        const size = sizes[factor as keyof typeof sizes] as number | undefined;
        return product * (size ?? Number(factor));
      }, 1),
    0,
  );
  return [terms.map((factors) => factors.join("*")).join("+"), value];
};

test("dimensions add and multiply as the numbers that they stand for", (t) => {
  const stream = randomStream(1, "dims");
  for (let i = 0; i < 200; i++) {
    const [[a, x], [b, y], [c, z]] = [randomDim(stream), randomDim(stream), randomDim(stream)];
    t.is(evaluateDim(a, sizes), x);
    t.is(evaluateDim(addDims(a, b, c), sizes), x + y + z);
    t.is(evaluateDim(multiplyDims(a, b, c), sizes), x * y * z + 0);
  }
});

test("equal dimensions are equal strings, however they were made", (t) => {
  const stream = randomStream(2, "dims");
  for (let i = 0; i < 200; i++) {
    const [[a], [b], [c]] = [randomDim(stream), randomDim(stream), randomDim(stream)];
    t.is(addDims(a, b), addDims(b, a));
    t.is(multiplyDims(a, b), multiplyDims(b, a));
    t.is(multiplyDims(a, addDims(b, c)), addDims(multiplyDims(a, b), multiplyDims(a, c)));
    t.is(addDims(a, multiplyDims(-1, a)), 0);
    t.is(canonicalDim(canonicalDim(a)), canonicalDim(a));
    t.is(addDims(a), canonicalDim(a));
  }
});

test("canonicalDim sorts factors and terms, plain numbers last, and makes numbers of what has no name", (t) => {
  t.is(canonicalDim("seq*batch"), "batch*seq");
  t.is(canonicalDim("past + beams"), "beams+past");
  t.is(canonicalDim("3+seq*2"), "2*seq+3");
  t.is(canonicalDim("seq+seq"), "2*seq");
  t.is(canonicalDim("2*3"), 6);
  t.is(canonicalDim("0*seq"), 0);
  t.is(multiplyDims(4, "seq+past"), "4*past+4*seq");
  t.is(multiplyDims(), 1);
  t.is(addDims(), 0);
});

test("canonicalDim refuses what is no polynomial in names", (t) => {
  for (const dim of ["", "seq-1", "seq/2", "1.5", "seq**2", "a b"])
    t.throws(() => canonicalDim(dim), {
      instanceOf: RangeError,
      message: /^Cannot read the dimension ".*": found ".*", expected a name or a whole number$/,
    });
});

test("evaluateDim names the size that is missing", (t) => {
  t.throws(() => evaluateDim("batch*seq", { seq: 2 }), {
    instanceOf: RangeError,
    message: 'Cannot evaluate the dimension "batch*seq": "batch" has no size',
  });
});

test("broadcastShapes spreads 1 to any size, and a name to itself alone", (t) => {
  t.deepEqual(broadcastShapes([2, 1, 4], [3, 1]), [2, 3, 4]);
  t.deepEqual(broadcastShapes([], ["batch", 2]), ["batch", 2]);
  t.deepEqual(broadcastShapes(["batch", 1], [1, "seq"]), ["batch", "seq"]);
  t.is(broadcastShapes(["batch"], ["seq"]), undefined);
  t.is(broadcastShapes(["batch"], [3]), undefined);
  t.is(broadcastShapes([2], [3]), undefined);
});
