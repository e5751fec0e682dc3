import test from "ava";
import { backward } from "../../src/graph/backward.js";
import { Graph } from "../../src/graph/graph.js";
import { opName, type Node, type Value } from "../../src/graph/op.js";
import { prune } from "../../src/graph/passes/prune.js";
import { countOps, float32, runGraph } from "../support/run-graph.js";

const isBackward = (node: Node): boolean => node.backward;
const matmuls = (g: Graph, counts: (node: Node) => boolean = isBackward): number => {
  const { MatMul = 0, FusedMatMul = 0 } = countOps(g, counts);
  return MatMul + FusedMatMul;
};

/** Three frozen linear layers with LoRA's x A^T B^T beside those in `adapted`. */
const loraStack = (adapted: readonly number[]): Graph => {
  const g = new Graph();
  let x = g.input("x", "float32", ["rows", 8]);
  const trainable: Value[] = [];
  for (const layer of [0, 1, 2]) {
    const weight = g.weight(`W${layer}`, "float32", [8, 8]);
    const bias = g.weight(`b${layer}`, "float32", [8]);
    const input = x;
    x = g.inScope(`layer${layer}`, () => {
      const y = g.linear(input, weight, bias);
      if (!adapted.includes(layer)) return g.tanh(y);
      const A = g.input(`A${layer}`, "float32", [2, 8]);
      const B = g.input(`B${layer}`, "float32", [8, 2]);
      trainable.push(A, B);
      return g.tanh(g.add(y, g.linear(g.linear(input, A), B)));
    });
  }
  const loss = g.reduceSum(x, { axes: [0, 1] });
  g.output("loss", loss);
  backward(g, loss, trainable).forEach((gradient, i) => g.output(`gradient ${i}`, gradient));
  return prune(g);
};

test("backward emits no gradient of a frozen weight or bias", (t) => {
  const g = loraStack([0, 1, 2]);
  // A layer: dB, dA and the gradient between them; below it dx through W and through A, but for the first layer.
  t.is(matmuls(g), 3 * 3 + 2 * 2);
  const weights = new Set(
    [...g.weights.values()].map(({ id, shape }) => (shape.length === 2 ? id : -1)),
  );
  const reading = g.nodes.filter(
    (node) => isBackward(node) && node.inputs.some(({ id }) => weights.has(id)),
  );
  t.deepEqual(
    reading.map(({ op, attrs }) => [opName(op), attrs]),
    Array(2).fill(["MatMul", { transA: false, transB: false, alpha: 1 }]),
    "a weight is read for dx = dy W alone",
  );
  for (const node of g.nodes.filter(isBackward))
    for (const { shape } of node.outputs) t.notDeepEqual(shape, [8, 8]);
});

test("backward does nothing below the lowest trainable layer", (t) => {
  const g = loraStack([2]);
  t.is(matmuls(g), 3);
  t.deepEqual(
    [...new Set(g.nodes.filter(isBackward).map(({ scope }) => scope))].filter((s) => s !== ""),
    ["layer2"],
  );
});

test("backward passes through frozen layers to reach the trainable one below", (t) => {
  const g = loraStack([0]);
  const inLayer = (layer: number) =>
    matmuls(g, (node) => node.backward && node.scope === `layer${layer}`);
  t.deepEqual([0, 1, 2].map(inLayer), [3, 1, 1]);
});

test("backward sums what reaches a value on several ways", async (t) => {
  const g = new Graph();
  const x = g.input("x", "float32", [2]);
  const loss = g.reduceSum(g.add(g.mul(x, x), g.mul(g.scalar(3, "float32"), x)), { axes: [0] });
  const [dx] = backward(g, loss, [x]);
  g.output("dx", dx as Value);
  const made = await runGraph(g, { x: float32([2], [5, -1]) });
  t.deepEqual([...(made.dx as Float32Array)], [13, 1]);
});

test("backward gives gradients of inputs, weights and values in between, in the order asked for", async (t) => {
  const g = new Graph();
  const x = g.input("x", "float32", [2]);
  const w = g.weight("w", "float32", [2]);
  const product = g.mul(x, w);
  const loss = g.mul(product, product);
  backward(g, loss, [product, w, x]).forEach((gradient, i) => g.output(String(i), gradient));
  const made = await runGraph(g, { x: float32([2], [3, 1]), w: float32([2], [2, 1]) });
  t.deepEqual(
    [0, 1, 2].map((i) => [...(made[i] as Float32Array)]),
    [
      [12, 2],
      [36, 2],
      [24, 2],
    ],
  );
});

test("backward of a loss of several elements is that of their sum", async (t) => {
  const g = new Graph();
  const x = g.input("x", "float32", ["rows", 2]);
  backward(g, g.mul(x, x), [x]).forEach((gradient) => g.output("dx", gradient));
  const made = await runGraph(g, { x: float32([2, 2], [1, 2, 3, 4]) });
  t.deepEqual([...(made.dx as Float32Array)], [2, 4, 6, 8]);
});

test("backward names the trainable value that the loss does not depend on", (t) => {
  const g = new Graph();
  const [x, y] = [g.input("x", "float32", [2]), g.input("y", "float32", [3])];
  const loss = g.reduceSum(x, { axes: [0] });
  t.throws(() => backward(g, loss, [x, y]), {
    instanceOf: RangeError,
    message: /the loss does not depend on trainable value 1 \(float32 \[3\]\)$/,
  });
  t.throws(() => backward(g, loss, [y]), {
    instanceOf: RangeError,
    message: /found a loss that depends on none of the trainable values$/,
  });
});
