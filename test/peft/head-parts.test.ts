import test from "ava";
import { narrowFloat32 } from "../../src/core/half.js";
import { randomStream } from "../../src/core/random.js";
import { backward } from "../../src/graph/backward.js";
import { Graph } from "../../src/graph/graph.js";
import { recompute } from "../../src/graph/passes/recompute.js";
import type { LinearModule } from "../../src/models/model.js";
import { parseConfig } from "../../src/models/model-folder.js";
import { accessFrozenWeights } from "../../src/models/weights/frozen-weights.js";
import { plainLinear } from "../../src/peft/adapter.js";
import { buildAdapter } from "../../src/peft/build-adapter.js";
import { headByParts } from "../../src/peft/head-parts.js";
import { Tensor } from "../../src/runtime/tensor.js";
import { buildLossGraph } from "../../src/train/loss-graph.js";
import { defaultAdapterSettings } from "../support/adapter-settings.js";
import { float32, runGraph } from "../support/run-graph.js";

const head: LinearModule = {
  path: "lm_head",
  inFeatures: 6,
  outFeatures: 23,
  bias: false,
  table: "head",
};

test("a head in parts gives the logits and the gradient of the whole one", async (t) => {
  const stream = randomStream(1, "head");
  const draw = (count: number) => Float32Array.from({ length: count }, () => stream.normal());
  const feeds = {
    x: float32([5, 6], draw(30)),
    "lm_head.weight": Tensor.fromArray("bfloat16", [23, 6], narrowFloat32(draw(138), "bfloat16")),
  };
  const run = async (rows: number | undefined) => {
    const g = new Graph();
    const x = g.input("x", "float32", ["n", 6]);
    const access = accessFrozenWeights(g, () => ({ dtype: "bfloat16", shape: [23, 6] }));
    const y =
      rows === undefined ? plainLinear(g, access, x, head) : headByParts(g, access, x, head, rows);
    const loss = g.reduceSum(g.mul(y, y), { axes: [0, 1] });
    const [dx] = backward(g, loss, [x]);
    g.output("y", y);
    if (dx) g.output("dx", dx);
    return runGraph(recompute(g), feeds);
  };
  const [whole, parts] = [await run(undefined), await run(9)];
  for (const name of ["y", "dx"]) {
    const [expected, found] = [whole[name] as Float32Array, parts[name] as Float32Array];
    const largest = Math.max(...expected.map(Math.abs));
    t.is(found.length, expected.length);
    found.forEach((value, i) => t.true(Math.abs(value - (expected[i] ?? NaN)) < 1e-6 * largest));
  }
});

test("no value of a training graph has the size of Llama-3's head in float32", (t) => {
  const model = parseConfig(
    {
      ...{ model_type: "llama", vocab_size: 128256, hidden_size: 4096, intermediate_size: 64 },
      ...{ num_hidden_layers: 1, num_attention_heads: 32, num_key_value_heads: 8 },
      max_position_embeddings: 64,
    },
    "the test",
  );
  const graph = buildLossGraph({
    model,
    adapter: buildAdapter("hira", model, defaultAdapterSettings, new Set()),
    typeOf: (name) => ({ dtype: "bfloat16", shape: model.tensors.get(name) ?? [] }),
    ...{ maxPositions: 64, maxRows: 4, chunks: 2, gradients: true, recomputeLayers: false },
  });
  const sizes = graph.nodes
    .flatMap(({ outputs }) => outputs)
    .flatMap(({ shape }) =>
      shape.every((dim) => typeof dim === "number") ? [shape.reduce((a, b) => a * b, 1)] : [],
    );
  t.true(4 * Math.max(...sizes) <= 128 * 1024 ** 2);
});
