import test from "ava";
import { widenBfloat16 } from "../../../src/core/half.js";
import { backward } from "../../../src/graph/backward.js";
import { Graph } from "../../../src/graph/graph.js";
import { opName, type Node } from "../../../src/graph/op.js";
import { inPrecision, type GraphPrecision } from "../../../src/graph/passes/in-precision.js";
import { prune } from "../../../src/graph/passes/prune.js";
import { recompute } from "../../../src/graph/passes/recompute.js";
import { lower } from "../../../src/graph/passes/lower.js";
import { cpuHasKernel } from "../../../src/runtime/devices/cpu.js";
import { Tensor } from "../../../src/runtime/tensor.js";
import { countOps, float32, runGraph } from "../../support/run-graph.js";
import { smallNetwork } from "../../support/small-network.js";

const mixed: GraphPrecision = { compute: "bfloat16", keep: "matmuls" };
const bf16: GraphPrecision = { compute: "bfloat16", keep: "everything" };
const fp16: GraphPrecision = { compute: "float16", keep: "everything" };

const isProduct = ({ op }: Node): boolean => op.inHalf === "product";
const dtypesOf = ({ inputs, outputs }: Node): readonly string[] =>
  [...inputs, ...outputs].map(({ dtype }) => dtype).filter((dtype) => dtype !== "int64");
const casts = (graph: Graph): readonly Node[] =>
  graph.nodes.filter(({ op }) => op.opType === "Cast");

for (const [name, form] of Object.entries({ mixed, bf16, fp16 }))
  test(`${name}: products have 16 bits, norms, softmax, sums and what leaves the graph float32`, (t) => {
    const typed = inPrecision(recompute(prune(smallNetwork(3))), form);
    t.true(typed.nodes.some(isProduct));
    for (const node of typed.nodes) {
      if (isProduct(node)) t.deepEqual([...new Set(dtypesOf(node))], [form.compute]);
      if (node.op.inHalf === undefined && node.op.opType !== "Cast")
        t.deepEqual([...new Set(dtypesOf(node))], ["float32"], opName(node.op));
    }
    for (const value of [...typed.inputs.values(), ...typed.outputs.values()])
      t.is(value.dtype, "float32");
  });

test("mixed leaves all arithmetic but products in float32; bf16 has what stands between products in 16 bits", (t) => {
  const graph = recompute(prune(smallNetwork(3)));
  for (const node of inPrecision(graph, mixed).nodes)
    if (node.op.inHalf === "elementwise") t.deepEqual([...new Set(dtypesOf(node))], ["float32"]);
  const typed = inPrecision(graph, bf16);
  const forwardSums = typed.nodes.filter(
    ({ op, backward: isBackward }) => op.opType === "Add" && !isBackward,
  );
  t.true(
    typed.nodes.some(
      ({ op, outputs }) => op.inHalf === "elementwise" && outputs[0]?.dtype === "bfloat16",
    ),
  );
  // Of each layer 1 + B A, the sum of the two products with W (1 + B A), and the residual stream, which norms and its next sum read.
  t.is(forwardSums.filter(({ outputs }) => outputs[0]?.dtype === "float32").length, 9);
  t.is(forwardSums.length, 9);
});

test("a value is cast once for all its readers, and no cast follows its reverse", (t) => {
  const g = new Graph();
  const x = g.input("x", "float32", ["rows", 8]);
  const weights = [0, 1, 2].map((i) => g.weight(`W${String(i)}`, "float32", [8, 8]));
  const chained = weights.reduce(
    (y, weight) => g.matmul(y, weight, { transB: true, alpha: 0.5 }),
    x,
  );
  const side = g.matmul(x, weights[0] as (typeof weights)[0], { transB: true });
  g.output("y", g.softmax(g.add(chained, side), { axis: -1 }));
  const typed = inPrecision(g, mixed);
  // x, three weights, two results; chained products hand 16 bits on.
  t.is(casts(typed).length, 6);
  for (const { inputs } of casts(typed)) t.not(inputs[0]?.producer?.op.opType, "Cast");
  const alphas = typed.nodes
    .filter(isProduct)
    .map(({ attrs }) => (attrs as { alpha: number }).alpha);
  t.deepEqual(alphas, [0.5, 0.5, 0.5, 1]);
});

test("a weight in the file's 16 bits is read as it lies, one in others takes one cast in forward and one in backward", (t) => {
  const build = (dtype: "bfloat16" | "float16" | "float32"): Graph => {
    const g = new Graph();
    const x = g.input("x", "float32", ["rows", 8]);
    const weight = g.cheap(() => g.cast(g.weight("W", dtype, [8, 8]), "float32"));
    const y = g.linear(x, weight);
    const loss = g.reduceSum(g.mul(y, y), { axes: [0, 1] });
    g.output("loss", loss);
    g.output("dx", backward(g, loss, [x])[0] as typeof x);
    return recompute(prune(g));
  };
  const castsOfWeight = (graph: Graph): readonly (readonly [string, string, boolean])[] =>
    casts(graph)
      .filter(({ inputs }) => inputs[0]?.id === graph.weights.get("W")?.id)
      .map(({ inputs, outputs, backward: isBackward }) => [
        inputs[0]?.dtype ?? "",
        outputs[0]?.dtype ?? "",
        isBackward,
      ]);
  for (const form of [mixed, bf16]) {
    t.deepEqual(castsOfWeight(inPrecision(build("bfloat16"), form)), []);
    for (const dtype of ["float16", "float32"] as const)
      t.deepEqual(castsOfWeight(inPrecision(build(dtype), form)), [
        [dtype, "bfloat16", false],
        [dtype, "bfloat16", true],
      ]);
  }
});

test("constants are rounded while the graph is made; one beyond float16 stays float32, with what it meets", (t) => {
  const build = (number: number): Graph => {
    const g = new Graph();
    const [x, w] = [g.input("x", "float32", ["rows", 4]), g.weight("W", "float32", [4, 4])];
    const scaled = g.mul(g.matmul(x, w), g.scalar(number, "float32"));
    g.output("y", g.softmax(g.matmul(scaled, w), { axis: -1 }));
    return g;
  };
  const factors = (graph: Graph): readonly string[] =>
    graph.nodes.filter(({ op }) => op.opType === "Mul").map((node) => dtypesOf(node).join());
  t.deepEqual(factors(inPrecision(build(0.3), bf16)), ["bfloat16,bfloat16,bfloat16"]);
  t.deepEqual(factors(inPrecision(build(1e30), bf16)), ["bfloat16,bfloat16,bfloat16"]);
  t.deepEqual(factors(inPrecision(build(0.3), fp16)), ["float16,float16,float16"]);
  t.deepEqual(factors(inPrecision(build(1e30), fp16)), ["float32,float32,float32"]);
  const typed = inPrecision(build(0.3), bf16);
  const [constant] = [...typed.constants.values()].filter(
    ({ value }) => value.dtype === "bfloat16",
  );
  t.is(widenBfloat16(constant?.data as Uint16Array)[0], 0.30078125);
});

test("an update of a weight that 16 bits cannot hold is in the product all the same", async (t) => {
  // Of W0 (1 + B A) with B A = 2^-10, bfloat16 holds W0.
  const build = (): Graph => {
    const g = new Graph();
    const [A, B] = [g.input("A", "float32", [1, 4]), g.input("B", "float32", [4, 1])];
    const stored = g.cast(g.weight("W", "bfloat16", [4, 4]), "float32");
    const w = g.mul(stored, g.add(g.matmul(B, A), g.scalar(1, "float32")));
    g.output("y", g.matmul(g.input("x", "float32", ["rows", 4]), w));
    return g;
  };
  for (const form of [mixed, bf16]) {
    const typed = inPrecision(build(), form);
    const products = typed.nodes.filter(isProduct);
    // B A, and two with the weight.
    t.is(products.length, 3);
    const [last] = typed.nodes.filter(({ op }) => op.opType === "Add").slice(-1);
    t.deepEqual(last && dtypesOf(last), ["float32", "float32", "float32"]);
  }
  // On the CPU, which has products of float16: there 2^-13 is what is lost.
  const feeds = {
    A: float32([1, 4], [1, 1, 1, 1]),
    B: float32(
      [4, 1],
      Array.from({ length: 4 }, () => 2 ** -13),
    ),
    x: float32([1, 4], [1, 0, 0, 0]),
    W: Tensor.fromArray("bfloat16", [4, 4], new Uint16Array(16).fill(0x3f80)),
  };
  const typed = inPrecision(build(), { compute: "float16", keep: "matmuls" });
  const { y } = await runGraph(lower(typed, cpuHasKernel), feeds);
  t.deepEqual(
    y,
    Float32Array.from({ length: 4 }, () => 1 + 2 ** -13),
  );
});

test("ops without a kernel in 16 bits stay in float32", (t) => {
  const graph = recompute(prune(smallNetwork(2)));
  const typed = inPrecision(graph, bf16, (opType) => opType !== "QuickGelu" && opType !== "Add");
  const narrow = countOps(typed, ({ outputs }) => outputs[0]?.dtype === "bfloat16");
  t.is(narrow.Add, undefined);
  t.is(narrow.Silu, undefined);
  t.true((narrow.Mul ?? 0) > 0);
});

test("nodes keep their place in the model, and what is computed again stays apart", (t) => {
  const before = recompute(prune(smallNetwork(3, { recomputeLayers: true })));
  const after = inPrecision(before, mixed);
  const kinds = (graph: Graph): readonly string[] =>
    graph.nodes
      .filter(({ op }) => op.opType !== "Cast")
      .map(({ op, scope, segment, backward: isBackward }) =>
        [opName(op), scope, segment, isBackward].join(),
      );
  // Beside what was there: of each layer's weight the rest that 16 bits lose, its product, and the sum.
  const added = [...kinds(after)];
  for (const kind of kinds(before)) added.splice(added.indexOf(kind), 1);
  t.deepEqual(
    [...new Set(added)].sort(),
    [0, 1, 2]
      .flatMap((layer) =>
        ["Add", "FusedMatMul", "Sub"].map(
          (op) => `${op},layer${String(layer)},layer${String(layer)},false`,
        ),
      )
      .sort(),
  );
  t.deepEqual([...after.inputs.keys()], [...before.inputs.keys()]);
  t.deepEqual([...after.outputs.keys()], [...before.outputs.keys()]);
});
