import { cpuHasKernel } from "../../../src/runtime/devices/cpu.js";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import { backward } from "../../../src/graph/backward.js";
import { Graph } from "../../../src/graph/graph.js";
import { encodeOnnx } from "../../../src/graph/onnx/encode.js";
import { opName, type Node, type Value } from "../../../src/graph/op.js";
import { lower } from "../../../src/graph/passes/lower.js";
import { prune } from "../../../src/graph/passes/prune.js";
import { recompute } from "../../../src/graph/passes/recompute.js";
import { OrtSession } from "../../../src/runtime/ort/session.js";
import { Tensor } from "../../../src/runtime/tensor.js";
import { makeTempFolder } from "../../support/temp-folder.js";

const layers = 4;
const width = 8;

/** Layers x -> silu(x (W * (1 + p))^T) + x with W in bfloat16; the gradient of every p is added to a sum. */
const buildLayers = (): Graph => {
  const g = new Graph();
  let x = g.input("x", "float32", [3, width]);
  const parameters: Value[] = [];
  for (let layer = 0; layer < layers; layer++) {
    const p = g.input(`p${String(layer)}`, "float32", [width, width]);
    parameters.push(p);
    x = g.inScope(`layer${String(layer)}`, () => {
      const weight = g.cheap(() => {
        const stored = g.weight(`W${String(layer)}`, "bfloat16", [width, width]);
        return g.mul(g.cast(stored, "float32"), g.add(p, g.scalar(1, "float32")));
      });
      return g.add(g.silu(g.linear(x, weight)), x);
    });
  }
  const loss = g.reduceSum(x, { axes: [0, 1] });
  g.output("loss", loss);
  backward(g, loss, parameters).forEach((gradient, layer) => {
    const sum = g.input(`sum${String(layer)}`, "float32", [width, width]);
    g.output(
      `dp${String(layer)}`,
      g.inBackward(() => g.add(sum, gradient)),
    );
  });
  return recompute(g);
};

/** The nodes of a graph in the order in which the runtime executes them, from its profile. */
const executed = async (graph: Graph, folder: string): Promise<readonly Node[]> => {
  const matrix = [width, width];
  const session = await OrtSession.create({
    model: encodeOnnx(graph),
    initializers: Object.fromEntries(
      [...graph.weights.keys()].map((name) => [name, Tensor.zeros("bfloat16", matrix)]),
    ),
    disabledOptimizers: ["CommonSubexpressionElimination", "ConstantFolding"],
    profile: join(folder, "order"),
  });
  await session.run(
    Object.fromEntries(
      [...graph.inputs].map(([name, { dtype, shape }]) => [
        name,
        Tensor.zeros(dtype, shape as readonly number[]),
      ]),
    ),
  );
  session.dispose();
  const [file = ""] = await readdir(folder);
  const events = JSON.parse(await readFile(join(folder, file), "utf8")) as readonly {
    readonly name: string;
  }[];
  const byId = new Map(graph.nodes.map((node) => [String(node.id), node]));
  return events.flatMap(({ name }) => {
    const id = /_(\d+)_kernel_time$/.exec(name)?.[1];
    return byId.get(id ?? "") ?? [];
  });
};

/** The most outputs of nodes of one op that are alive at a time: made, and still to be read. */
const mostAlive = (order: readonly Node[], op: string): number => {
  const lastRead = new Map<Value, number>();
  order.forEach((node, i) => {
    for (const input of node.inputs) lastRead.set(input, i);
  });
  const alive = order.map(
    (_, i) =>
      order
        .slice(0, i)
        .filter(
          ({ op: made, outputs: [y] }) => opName(made) === op && y && (lastRead.get(y) ?? 0) >= i,
        ).length,
  );
  return Math.max(...alive);
};

test("encodeOnnx lets one widened weight live at a time, forward and backward", async (t) => {
  const order = await executed(buildLayers(), await makeTempFolder(t));
  t.is(order.filter(({ op }) => opName(op) === "Cast").length, 2 * layers);
  t.is(mostAlive(order, "Cast"), 1);
});

test("encodeOnnx lets the log-probabilities of one chunk of rows live at a time", async (t) => {
  const g = new Graph();
  const x = g.input("x", "float32", [6, width]);
  const labels = g.input("labels", "int64", [6]);
  const chunks = [2, 2, 2];
  const rows = g.split(x, chunks, 0);
  const ids = g.split(labels, chunks, 0);
  const weight = g.cast(g.weight("W", "bfloat16", [width, width]), "float32");
  const loss = rows
    .map((part, i) =>
      g.reduceSum(g.softmaxCrossEntropyLoss(g.linear(part, weight), ids[i] as Value), {
        axes: [0],
      }),
    )
    .reduce((a, b) => g.add(a, b));
  g.output("loss", loss);
  backward(g, loss, [x]).forEach((gradient) => {
    g.output("dx", gradient);
  });
  const order = await executed(lower(recompute(prune(g)), cpuHasKernel), await makeTempFolder(t));
  t.is(order.filter(({ op }) => opName(op) === "LogSoftmax").length, chunks.length);
  t.is(mostAlive(order, "LogSoftmax"), 1);
  t.is(mostAlive(order, "Exp"), 1);
});

test("encodeOnnx finishes the gradients of a layer before the layer below begins", async (t) => {
  const graph = buildLayers();
  const order = await executed(graph, await makeTempFolder(t));
  const finished = Array.from({ length: layers }, (_, layer) => {
    const gradient = graph.outputs.get(`dp${String(layer)}`);
    return order.findIndex((node) => node === gradient?.producer);
  });
  for (let layer = 0; layer + 1 < layers; layer++) {
    const begun = order.findIndex(
      ({ backward: isBackward, op, scope }) =>
        isBackward && opName(op) === "Sigmoid" && scope === `layer${String(layer)}`,
    );
    const above = finished[layer + 1] ?? NaN;
    t.true(begun > above, `${String(begun)} after ${String(above)}`);
  }
});
