import test from "ava";
import { Graph } from "../../src/graph/graph.js";
import { countOps, float32, int64, runGraph } from "../support/run-graph.js";

const inputs = (g: Graph) => ({
  x: g.input("x", "float32", ["batch", 4]),
  wide: g.input("wide", "float64", ["batch", 4]),
  ids: g.input("ids", "int64", [3]),
  other: g.input("other", "float32", ["seq", 5]),
});
type Inputs = ReturnType<typeof inputs>;

/** What is refused, and by which words. */
const refusals: Readonly<Record<string, readonly [(g: Graph, x: Inputs) => unknown, RegExp]>> = {
  "Add of two dtypes": [
    (g, { x, wide }) => g.add(x, wide),
    /^Cannot build Add: found float32 \[batch, 4\] and float64 \[batch, 4\], expected one dtype$/,
  ],
  "Mul of shapes that do not broadcast": [
    (g, { x, other }) => g.mul(x, other),
    /^Cannot build Mul: found float32 \[batch, 4\] and float32 \[seq, 5\], expected shapes that broadcast$/,
  ],
  "Exp of whole numbers": [
    (g, { ids }) => g.exp(ids),
    /^Cannot build Exp: found int64 \[3\], expected a floating/,
  ],
  "MatMul of inner sizes that differ": [
    (g, { x, other }) => g.matmul(x, other),
    /^Cannot build MatMul: found float32 \[batch, 4\] and float32 \[seq, 5\], expected two matrices/,
  ],
  "FusedMatMul of inner sizes that differ": [
    (g, { x, other }) => g.matmul(x, other, { transB: true }),
    /^Cannot build FusedMatMul: .*\(transA false, transB true\)$/,
  ],
  "Reshape to another number of elements": [
    (g, { x }) => g.reshape(x, ["batch", 5]),
    /^Cannot build Reshape: found float32 \[batch, 4\], expected .* as many elements as \[batch, 5\]$/,
  ],
  "Transpose by no permutation": [
    (g, { x }) => g.transpose(x, [0, 0]),
    /^Cannot build Transpose: found float32 \[batch, 4\], expected .* \[0, 0\] permutes$/,
  ],
  "Concat of tensors that differ elsewhere": [
    (g, { x, other }) => g.concat([x, other], 0),
    /^Cannot build Concat: found .* and .*, expected tensors that differ in axis 0 only$/,
  ],
  "Concat of nothing": [(g) => g.concat([], 0), /^Cannot build Concat: found no tensors/],
  "Split into sizes of another sum": [
    (g, { x }) => g.split(x, [1, 2], 1),
    /^Cannot build Split: .* axis 1 is the sum of \[1, 2\]$/,
  ],
  "Slice beyond an axis": [
    (g, { x }) => g.slice(x, { axis: 1, start: 2, end: 5 }),
    /^Cannot build Slice: .* an axis 1 that holds \[2, 5\)$/,
  ],
  "Expand to a smaller shape": [(g, { x }) => g.expand(x, ["batch", 1]), /^Cannot build Expand: /],
  "Gather by floats": [
    (g, { x }) => g.gather(x, x, { axis: 0 }),
    /^Cannot build Gather: .* expected int64 indices$/,
  ],
  "GatherElements by indices of another rank": [
    (g, { x, ids }) => g.gatherElements(x, ids, { axis: 0 }),
    /^Cannot build GatherElements: .* expected int64 or int32 indices of the same rank$/,
  ],
  "ScatterElements of updates of another shape": [
    (g, { x, ids }) => g.scatterElements(x, ids, x, { axis: 0, reduction: "add" }),
    /^Cannot build ScatterElements: .* expected int64 indices of the updates' shape/,
  ],
  "ScatterND of updates of another shape": [
    (g, { x }) => g.scatterND(x, g.input("at", "int64", [2, 1]), x),
    /^Cannot build ScatterND: .* expected updates \[2, 4\]$/,
  ],
  "Softmax along an axis that is not there": [
    (g, { x }) => g.softmax(x, { axis: 2 }),
    /^Cannot build Softmax: found float32 \[batch, 4\], expected an axis in \[-2, 2\), not 2$/,
  ],
  "ReduceSum over an axis that is not there": [
    (g, { x }) => g.reduceSum(x, { axes: [-3] }),
    /^Cannot build ReduceSum: .* an axis in \[-2, 2\), not -3$/,
  ],
  "ReduceSum over no axes, which ONNX reads as all": [
    (g, { x }) => g.reduceSum(x, { axes: [] }),
    /^Cannot build ReduceSum: .* expected at least one axis$/,
  ],
  "Pad of an axis that is not there": [
    (g, { x }) => g.pad(x, { axis: 2, before: 0, after: 1 }),
    /^Cannot build Pad: .* an axis in/,
  ],
  "Where with a condition that is no truth value": [
    (g, { x }) => g.where(x, x, x),
    /^Cannot build Where: .* expected a bool condition/,
  ],
  "TopK with a k of another type": [
    (g, { x, ids }) => g.topK(x, ids, "k"),
    /^Cannot build TopK: .* expected a tensor with an axis, and k int64 \[1\]$/,
  ],
  "RmsNorm with a gain of another size": [
    (g, { x }) => g.rmsNorm(x, g.input("gain", "float32", [5]), { epsilon: 0 }),
    /^Cannot build RmsNorm: .* expected a gain of shape \[4\]$/,
  ],
  "RotaryEmbedding with tables of another width": [
    (g, { x, ids }) => g.rotaryEmbedding(x, ids, x, x),
    /^Cannot build RotaryEmbedding: /,
  ],
  "SoftmaxCrossEntropyLoss with another number of labels": [
    (g, { x, ids }) => g.softmaxCrossEntropyLoss(x, ids),
    /^Cannot build SoftmaxCrossEntropyLoss: .* and int64 \[3\], expected logits \[rows, vocab\]/,
  ],
  "a size that no input has": [
    (g, { x }) => g.reshape(g.expand(x, ["heads", "batch", 4]), ["heads*batch", 4]),
    /^Cannot find the size "heads": found no input with a dimension of that name$/,
  ],
  "a constant of another length": [
    (g) => g.constant("float32", [2], Float32Array.of(1)),
    /^Cannot make a constant: found 1 elements, expected \[2\]$/,
  ],
  "two inputs of one name": [
    (g) => g.input("x", "float32", []),
    /^Cannot add "x": found an input or weight/,
  ],
  "two outputs of one name": [
    (g, { x }) => {
      g.output("y", x);
      g.output("y", x);
    },
    /^Cannot add the output "y": found one of that name$/,
  ],
};

for (const [what, [build, message]] of Object.entries(refusals)) {
  test(`Graph refuses ${what}, and says what it found`, (t) => {
    const g = new Graph();
    const x = inputs(g);
    t.throws(() => build(g, x), { instanceOf: RangeError, message });
  });
}

test("an error names the part of the model that was being built", (t) => {
  const g = new Graph();
  const { x, other } = inputs(g);
  const build = () => g.inScope("model.layers.3", () => g.inScope("mlp", () => g.linear(x, other)));
  t.throws(build, {
    message:
      /^In model\.layers\.3\.mlp: Cannot build FusedMatMul: found float32 \[batch, 4\] and float32 \[seq, 5\]/,
  });
  t.is(g.exp(x).producer?.scope, "", "the scope ends with an error");
});

test("Graph.reshape and expand add no node where nothing changes", (t) => {
  const g = new Graph();
  const x = g.input("x", "float32", ["seq*batch", 4]);
  t.is(g.reshape(x, ["batch*seq", 4]), x);
  t.is(g.expand(x, ["batch*seq", 4]), x);
  t.is(g.cast(x, "float32"), x);
  t.deepEqual(countOps(g), {});
});

test("Graph.reshape needs no sizes at run time where at most one of them is unknown", (t) => {
  const g = new Graph();
  const x = g.input("x", "float32", ["batch", "seq", 4]);
  g.reshape(x, ["batch*seq", 4]);
  g.reshape(x, ["batch", "seq", 2, 2]);
  g.reshape(x, ["batch", "2*seq", 2]);
  t.deepEqual(countOps(g), { Reshape: 3 });
});

test("sizes are computed from the inputs of each run, and only once", async (t) => {
  const g = new Graph();
  const x = g.input("x", "float32", ["batch", "seq"]);
  const rows = g.input("rows", "float32", ["past"]);
  g.output("sizes", g.dims(["2*batch*seq+past+1", "seq", 7]));
  g.output("table", g.reshape(g.zeros("float32", ["seq", "batch", "past"]), ["past", "batch*seq"]));
  t.is(countOps(g).Shape, 3, "one for each name");
  for (const [batch, seq, past] of [
    [2, 3, 4],
    [1, 1, 0],
  ] as const) {
    const { sizes, table } = await runGraph(g, {
      x: float32([batch, seq], Array<number>(batch * seq).fill(0)),
      rows: float32([past], Array<number>(past).fill(0)),
    });
    t.deepEqual(Array.from(sizes as BigInt64Array, Number), [2 * batch * seq + past + 1, seq, 7]);
    t.is(table?.length, batch * seq * past);
  }
  t.is(rows.shape[0], "past");
  t.is(x.dtype, "float32");
});

test("Pad, Slice and Concat take axes from the end", async (t) => {
  const g = new Graph();
  const x = g.input("x", "float32", [2, 2]);
  g.output("padded", g.pad(x, { axis: -1, before: 1, after: 0 }));
  g.output("sliced", g.slice(x, { axis: -2, start: 1, end: 2 }));
  g.output("joined", g.concat([x, x], -1));
  const made = await runGraph(g, { x: float32([2, 2], [1, 2, 3, 4]) });
  t.deepEqual([...(made.padded as Float32Array)], [0, 1, 2, 0, 3, 4]);
  t.deepEqual([...(made.sliced as Float32Array)], [3, 4]);
  t.deepEqual([...(made.joined as Float32Array)], [1, 2, 1, 2, 3, 4, 3, 4]);
});

test("TopK, ScatterND, ReduceMax and LessOrEqual compute what ONNX says", async (t) => {
  const g = new Graph();
  const x = g.input("x", "float32", [2, 4]);
  const [best, where] = g.topK(x, g.input("k", "int64", [1]), "kept");
  g.output("best", best);
  g.output("where", where);
  g.output(
    "written",
    g.scatterND(x, g.input("at", "int64", [1, 2]), g.input("new", "float32", [1])),
  );
  g.output("max", g.reduceMax(x, { axes: [1] }));
  g.output("low", g.lessOrEqual(x, g.scalar(2, "float32")));
  const made = await runGraph(g, {
    x: float32([2, 4], [1, 3, 2, 3, 5, 0, 0, 4]),
    k: int64([1], [2]),
    at: int64([1, 2], [1, 2]),
    new: float32([1], [9]),
  });
  t.deepEqual([...(made.best as Float32Array)], [3, 3, 5, 4]);
  t.deepEqual(Array.from(made.where as BigInt64Array, Number), [1, 3, 0, 3]);
  t.deepEqual([...(made.written as Float32Array)], [1, 3, 2, 3, 5, 0, 9, 4]);
  t.deepEqual([...(made.max as Float32Array)], [3, 5]);
  t.deepEqual([...(made.low as Uint8Array)], [1, 0, 1, 0, 0, 1, 1, 0]);
});

test("Graph.scalar gives 16-bit numbers as their bits", (t) => {
  const g = new Graph();
  const bits = (dtype: "bfloat16" | "float16"): readonly number[] =>
    [1, -0.5].map((number) => Number(g.constants.get(g.scalar(number, dtype).id)?.data[0]));
  t.deepEqual(bits("bfloat16"), [0x3f80, 0xbf00]);
  t.deepEqual(bits("float16"), [0x3c00, 0xb800]);
});
