import test from "ava";
import { elementCount, type DType, type TypedArray } from "../../../src/core/dtype.js";
import { randomStream } from "../../../src/core/random.js";
import { Graph } from "../../../src/graph/graph.js";
import type { Value } from "../../../src/graph/op.js";
import { foldConstants } from "../../../src/graph/passes/fold-constants.js";
import { countOps, float32, runGraph } from "../../support/run-graph.js";

const stream = randomStream(1, "fold-constants");
/** Random floats with many digits; whole numbers from -9 to 9 without 0. */
const constant = (g: Graph, dtype: DType, shape: readonly number[]): Value => {
  const length = elementCount(shape);
  const whole = () => (stream.integer(9) + 1) * (stream.integer(2) === 0 ? 1 : -1);
  const numbers = Array.from({ length }, () =>
    dtype === "int64" ? whole() : 0.1 + 3 * stream.uniform(),
  );
  if (dtype === "int64") return g.constant(dtype, shape, BigInt64Array.from(numbers, BigInt));
  if (dtype === "float64") return g.constant(dtype, shape, Float64Array.from(numbers));
  return g.constant(dtype, shape, Float32Array.from(numbers));
};

const bits = (data: TypedArray): string =>
  Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("hex");

const cases: Readonly<Record<string, (g: Graph) => readonly Value[]>> = {
  "arithmetic with broadcasting": (g) =>
    (["float32", "float64", "int64"] as const).flatMap((dtype) => {
      const [a, b] = [constant(g, dtype, [2, 3, 1]), constant(g, dtype, [3, 4])];
      return [g.add(a, b), g.sub(a, b), g.mul(a, b), g.div(a, b), g.sub(g.scalar(1, dtype), b)];
    }),
  "functions of one float": (g) =>
    (["float32", "float64"] as const).flatMap((dtype) => {
      const x = constant(g, dtype, [50]);
      return [g.neg(x), g.sqrt(x), g.reciprocal(x), g.identity(x)];
    }),
  "changes of dtype": (g) => {
    const x = constant(g, "float32", [5]);
    const n = constant(g, "int64", [5]);
    const widened = g.cast(x, "float64");
    return [widened, g.cast(widened, "float32"), g.cast(n, "float32"), g.cast(n, "bool")];
  },
  "changes of shape": (g) => {
    const x = constant(g, "float32", [2, 3, 4]);
    const row = constant(g, "float32", [3, 1]);
    return [
      g.reshape(x, [4, 6]),
      g.transpose(x, [2, 0, 1]),
      g.transpose(x, [1, 2, 0]),
      g.expand(row, [2, 3, 4]),
      g.slice(x, { axis: -1, start: 1, end: 3 }),
      g.slice(x, { axis: 0, start: 1, end: 2 }),
      g.concat([x, x, constant(g, "float32", [2, 1, 4])], 1),
      g.concat([row, row], -1),
    ];
  },
  "elements by index": (g) => {
    const x = constant(g, "float32", [2, 3, 4]);
    const at = g.constant("int64", [2, 2], BigInt64Array.of(1n, 0n, -1n, 1n));
    return [0, 1, -1].map((axis) => g.gather(x, at, { axis }));
  },
};

for (const [title, build] of Object.entries(cases)) {
  test(`foldConstants computes ${title} with the runtime's very bits`, async (t) => {
    const g = new Graph();
    build(g).forEach((value, i) => g.output(String(i), value));
    const folded = foldConstants(g);
    t.deepEqual(
      countOps(folded),
      { Identity: g.outputs.size },
      "only outputs of constants are left",
    );
    const [plain, computed] = [
      await runGraph(g, {}, { optimization: "none" }),
      await runGraph(folded),
    ];
    for (const [name, data] of Object.entries(plain))
      t.is(bits(computed[name] as TypedArray), bits(data), `${title}, output ${name}`);
  });
}

test("foldConstants folds what folded constants feed, and leaves the rest", async (t) => {
  const g = new Graph();
  const x = g.input("x", "float32", [2]);
  const two = g.add(g.scalar(1, "float32"), g.scalar(1, "float32"));
  g.output("y", g.mul(x, g.mul(two, g.reciprocal(two))));
  const folded = foldConstants(g);
  t.deepEqual(countOps(folded), { Mul: 1 });
  const { y } = await runGraph(folded, { x: float32([2], [3, 4]) });
  t.deepEqual([...(y as Float32Array)], [3, 4]);
});

test("foldConstants leaves large results, unsafe divisions, fractions that become whole numbers, and 16-bit floats", (t) => {
  const g = new Graph();
  const half = g.constant("float16", [1], Uint16Array.of(0x3800));
  const values = [
    g.zeros("float32", [5000]),
    g.div(g.integers([1]), g.integers([0])),
    g.cast(g.scalar(1.5, "float32"), "int64"),
    g.neg(half),
    g.gather(g.integers([1, 2]), g.integers([7]), { axis: 0 }),
  ];
  values.forEach((value, i) => g.output(String(i), value));
  t.deepEqual(countOps(foldConstants(g)), countOps(g));
});
