import test from "ava";
import { Graph } from "../../../src/graph/graph.js";
import { encodeOnnx } from "../../../src/graph/onnx/encode.js";
import { readOnnx } from "../../support/read-onnx.js";
import { float32, int64, runGraph } from "../../support/run-graph.js";

test("encodeOnnx writes inputs and outputs with their names, dtypes, and sizes by number or name", (t) => {
  const g = new Graph();
  const x = g.input("x", "float32", ["seq*batch", 3]);
  g.input("ids", "int64", []);
  g.output("y", g.exp(x));
  g.output("same", x);
  const model = readOnnx(encodeOnnx(g));
  t.is(model.irVersion, 9);
  t.deepEqual(model.opsets, { "": 18, "com.microsoft": 1 });
  t.deepEqual(model.inputs, [
    { name: "x", dataType: 1, dims: ["batch*seq", 3] },
    { name: "ids", dataType: 7, dims: [] },
  ]);
  t.deepEqual(model.outputs, [
    { name: "y", dataType: 1, dims: ["batch*seq", 3] },
    { name: "same", dataType: 1, dims: ["batch*seq", 3] },
  ]);
  t.deepEqual(
    model.nodes.map(({ opType, inputs, outputs }) => [opType, inputs, outputs]),
    [
      ["Exp", ["x"], ["y"]],
      ["Identity", ["x"], ["same"]],
    ],
  );
});

test("encodeOnnx writes the shape of every value between inputs and outputs where it is asked to", (t) => {
  const g = new Graph();
  const x = g.input("x", "float32", ["batch", "seq", 3]);
  g.output("y", g.exp(g.reshape(x, ["batch*seq", 3])));
  t.deepEqual(readOnnx(encodeOnnx(g)).values, []);
  const { nodes, values } = readOnnx(encodeOnnx(g, { shapes: true }));
  const reshaped = nodes.find(({ opType }) => opType === "Reshape");
  t.deepEqual(
    values.filter(({ dataType }) => dataType === 1),
    [{ name: reshaped?.outputs[0] ?? "", dataType: 1, dims: ["batch*seq", 3] }],
  );
});

test("encodeOnnx writes weights as external initializers of their full length, and only constants that are read", (t) => {
  const g = new Graph();
  const weight = g.weight("model.weight", "bfloat16", [128256, 4096]);
  g.constant("float32", [2], Float32Array.of(7, 8));
  const rows = g.gather(weight, g.constant("int64", [2], BigInt64Array.of(5n, -6n)), { axis: 0 });
  g.output("y", rows);
  const { initializers } = readOnnx(encodeOnnx(g));
  t.deepEqual(
    initializers.map(({ dataType, dims, external }) => ({ dataType, dims, external })),
    [
      {
        dataType: 16,
        dims: [128256, 4096],
        external: { location: "weights", offset: "0", length: "1050673152" },
      },
      { dataType: 7, dims: [2], external: undefined },
    ],
  );
  t.is(initializers[0]?.name, "model.weight");
  t.is(initializers[0]?.raw, undefined);
  t.deepEqual(initializers[1]?.raw, Buffer.from(BigInt64Array.of(5n, -6n).buffer));
});

test("encodeOnnx writes the domain, the place and every kind of attribute of a node", (t) => {
  const g = new Graph();
  const x = g.input("x", "float32", ["batch", 2, 3]);
  const y = g.inScope("model.layers.0", () => {
    const turned = g.transpose(x, [0, 2, 1]);
    const product = g.matmul(x, turned, { transB: false, alpha: 0.125 });
    const at = g.input("at", "int64", ["batch", 2, 2]);
    return g.scatterElements(product, at, product, { axis: -1, reduction: "add" });
  });
  g.output("y", y);
  const [transpose, product, scatter] = readOnnx(encodeOnnx(g)).nodes;
  t.deepEqual(transpose?.attributes, { perm: [0, 2, 1] });
  t.is(transpose?.domain, "");
  t.regex(transpose?.name ?? "", /^model\.layers\.0\/Transpose_\d+$/);
  t.deepEqual(product?.attributes, { transA: 0, transB: 0, alpha: 0.125 });
  t.is(product?.domain, "com.microsoft");
  t.deepEqual(scatter?.attributes, { axis: -1, reduction: "add" });
});

test("encodeOnnx puts nodes that nobody reads last: forward ones, then backward ones in reverse order", (t) => {
  const g = new Graph();
  const x = g.input("x", "float32", [2]);
  g.output("early", g.neg(x));
  const [first, second] = g.inBackward(() => [g.sqrt(x), g.reciprocal(x)]);
  g.output("first", first);
  g.output("second", second);
  const inner = g.exp(x);
  g.output("late", g.log(inner));
  t.deepEqual(
    readOnnx(encodeOnnx(g)).nodes.map(({ opType }) => opType),
    ["Exp", "Neg", "Log", "Reciprocal", "Sqrt"],
  );
});

test("an output that another node reads stands where it was made, and can be read under its name", async (t) => {
  const g = new Graph();
  const x = g.input("x", "float32", [2]);
  const middle = g.exp(x);
  g.output("middle", middle);
  g.output("again", middle);
  g.output("y", g.neg(middle));
  const { middle: seen, again, y } = await runGraph(g, { x: float32([2], [0, 1]) });
  t.deepEqual(again, seen);
  t.deepEqual(
    [...(y as Float32Array)],
    [...(seen as Float32Array)].map((value) => -value),
  );
});

test("numbers of every sign and size survive in constants and attributes", async (t) => {
  const g = new Graph();
  const numbers = [0, 1, -1, 127, 128, 16384, -(2 ** 53) + 1, 2 ** 53 - 1];
  g.output("numbers", g.integers(numbers));
  g.output("zero", g.scalar(-0.1, "float64"));
  const rows = g.input("rows", "int64", [3]);
  g.output(
    "last",
    g.gather(g.constant("int64", [2, 3], BigInt64Array.of(1n, 2n, 3n, 4n, 5n, 6n)), rows, {
      axis: -1,
    }),
  );
  const made = await runGraph(g, { rows: int64([3], [2, 0, -1]) });
  t.deepEqual(Array.from(made.numbers as BigInt64Array, Number), numbers);
  t.deepEqual([...(made.zero as Float64Array)], [-0.1]);
  t.deepEqual(Array.from(made.last as BigInt64Array, Number), [3, 1, 3, 6, 4, 6]);
});
