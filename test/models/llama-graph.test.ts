import test from "ava";
import { randomStream } from "../../src/core/random.js";
import type { Graph } from "../../src/graph/graph.js";
import { encodeOnnx } from "../../src/graph/onnx/encode.js";
import type { Node } from "../../src/graph/op.js";
import { decoderModel } from "../../src/models/blocks/decoder.js";
import type { DecoderConfig } from "../../src/models/blocks/decoder-config.js";
import type { Adapter } from "../../src/peft/adapter.js";
import { buildLossGraph } from "../../src/train/loss-graph.js";
import { clearGradients, type ParameterStore } from "../../src/train/parameters.js";
import { fullAdapter, hiraOn, openTiny, randomBatch, tinyConfig } from "../support/random-llama.js";
import { readOnnx } from "../support/read-onnx.js";
import { countOps } from "../support/run-graph.js";

const lossGraph = (config: DecoderConfig, adapter: Adapter, recomputeLayers: boolean): Graph => {
  const model = decoderModel(config);
  const { tensors } = model;
  return buildLossGraph({
    model,
    adapter,
    typeOf: (name) => ({ dtype: "bfloat16", shape: tensors.get(name) ?? [] }),
    maxPositions: 256,
    chunks: 4,
    gradients: true,
    recomputeLayers,
  });
};

const rows = [
  { length: 5, context: 2, left: 0, right: 3 },
  { length: 8, context: 1, left: 0, right: 0 },
  { length: 3, context: 1, left: 0, right: 5 },
];

const gradientsOf = ({ gradients }: ParameterStore): ReadonlyMap<string, Float32Array> =>
  new Map([...gradients].map(([name, { data }]) => [name, (data as Float32Array).slice()]));

/** Largest difference over largest element, over all tensors. */
const distance = (
  a: ReadonlyMap<string, Float32Array>,
  b: ReadonlyMap<string, Float32Array>,
): number => {
  let [difference, largest] = [0, 0];
  for (const [name, expected] of b)
    expected.forEach((x, i) => {
      difference = Math.max(difference, Math.abs(x - (a.get(name)?.[i] ?? NaN)));
      largest = Math.max(largest, Math.abs(x));
    });
  return difference / largest;
};

test("the graph of Llama-3-8B with HiRA is built, differentiated, rewritten and encoded in seconds", (t) => {
  const config: DecoderConfig = {
    ...tinyConfig,
    vocabSize: 128256,
    hiddenSize: 4096,
    intermediateSize: 14336,
    layers: 32,
    heads: 32,
    kvHeads: 8,
    headDim: 128,
    rotaryDim: 128,
    ropeTheta: 500000,
    maxPositionEmbeddings: 8192,
  };
  const targets = "q_proj,k_proj,v_proj,up_proj,down_proj";
  for (const recomputeLayers of [false, true]) {
    const start = performance.now();
    const graph = lossGraph(config, hiraOn(config, targets, 32), recomputeLayers);
    const bytes = encodeOnnx(graph);
    const elapsedMs = performance.now() - start;
    t.log(
      `checkpointing ${recomputeLayers}: ${graph.nodes.length} nodes, ${bytes.length} bytes, ${elapsedMs.toFixed(0)} ms`,
    );
    // Alone on two cores it takes about one second; the bound is for a machine with much else to do.
    t.true(elapsedMs < 20_000);
    const model = readOnnx(bytes);
    t.is(model.nodes.length, graph.nodes.length);
    t.is(model.outputs.length, 1 + 2 * 5 * 32);
    t.is(
      model.initializers.filter(({ external }) => external).length,
      decoderModel(config).tensors.size,
    );
  }
});

test("HiRA on one module of the last layer costs ten products backward, and nothing below it", (t) => {
  const adapter = hiraOn(tinyConfig, "layers.1.self_attn.q_proj");
  const graph = lossGraph(tinyConfig, adapter, false);
  const isBackward = (node: Node) => node.backward;
  const { MatMul = 0, FusedMatMul = 0 } = countOps(graph, isBackward);
  // Head, in 4 chunks: dx. down, gate, up, o: dx. Attention: dP and dQ. q: dW; of it dA and dB.
  t.is(MatMul + FusedMatMul, 4 + 4 + 2 + 1 + 2);
  t.false(graph.nodes.some((node) => node.backward && node.scope.startsWith("model.layers.0")));
  t.deepEqual(
    [...graph.outputs.keys()].slice(1),
    adapter.parameters.map(({ name }) => `grad:${name}`),
  );
});

test("a product with a frozen weight has one product backward, for dx", (t) => {
  const graph = lossGraph(tinyConfig, hiraOn(tinyConfig, "layers.0.self_attn.v_proj"), false);
  const products = (scope: string) => {
    const { MatMul = 0, FusedMatMul = 0 } = countOps(
      graph,
      (node) => node.backward && node.scope === scope,
    );
    return MatMul + FusedMatMul;
  };
  for (const module of ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"])
    t.is(products(`model.layers.1.${module}`), 1, module);
  for (const module of ["self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"])
    for (const layer of [0, 1]) t.is(products(`model.layers.${layer}.${module}`), 1, module);
  t.is(products("model.layers.0.self_attn.q_proj"), 0);
  t.is(products("model.layers.0.self_attn.v_proj"), 3);
});

const variants: Readonly<Record<string, Partial<DecoderConfig>>> = {
  "as it is": {},
  "with attention biases": { qkvBias: true, outputBias: true },
  "with biases of q, k and v": { qkvBias: true },
  "with norms of heads": { headNorms: true },
  "with mlp biases": { mlpBias: true },
  "with tied embeddings": { tieWordEmbeddings: true },
  "with linear rope scaling": { ropeScaling: { type: "linear", factor: 4 } },
  "with llama3 rope scaling": {
    ropeScaling: {
      type: "llama3",
      factor: 8,
      lowFreqFactor: 1,
      highFreqFactor: 4,
      originalMaxPositionEmbeddings: 16,
    },
  },
  "with as many key heads as query heads": { kvHeads: 4 },
  "with one key head": { kvHeads: 1 },
  "with heads narrower than hidden / heads": { headDim: 2, rotaryDim: 2 },
  "with a third of each head rotated": { rotaryDim: 2 },
};

/** (loss(x + step d) - loss(x - step d)) / (2 step) and the gradients' word for it, along one random direction. */
const slopes = async (
  { session, store }: Awaited<ReturnType<typeof openTiny>>,
  lossScale: number,
): Promise<{ readonly loss: number; readonly found: number; readonly expected: number }> => {
  const batch = randomBatch(rows, tinyConfig.vocabSize);
  clearGradients(store);
  const { loss } = await session.run(batch, lossScale);
  const gradients = gradientsOf(store);
  const step = 5e-4;
  let found = 0;
  const directions = new Map(
    [...gradients].map(([name, gradient]) => {
      const stream = randomStream(4, name);
      const direction = Float64Array.from(gradient, () => stream.normal());
      gradient.forEach((slope, i) => (found += slope * (direction[i] ?? NaN)));
      return [name, direction];
    }),
  );
  const move = (by: number): void => {
    for (const [name, direction] of directions) {
      const data = store.values.get(name)?.data as Float32Array;
      direction.forEach((slope, i) => (data[i] = (data[i] ?? NaN) + by * slope));
    }
  };
  move(step);
  const up = await session.run(batch, lossScale);
  move(-2 * step);
  const down = await session.run(batch, lossScale);
  return { loss, found, expected: (up.loss - down.loss) / (2 * step) };
};

test("every variant of a Llama runs, with a loss of its own and gradients that are those of finite differences (float32)", async (t) => {
  const losses = new Map<string, number>();
  for (const [title, overrides] of Object.entries(variants)) {
    const config = { ...tinyConfig, ...overrides };
    const tiny = await openTiny(config, fullAdapter(config));
    const { loss, found, expected } = await slopes(tiny, 1 / 13);
    tiny.session.dispose();
    const error = Math.abs(found - expected) / Math.abs(expected);
    t.true(error < 1e-2, `${title}: the gradients say ${found}, differences ${expected}`);
    for (const [other, value] of losses)
      t.true(Math.abs(loss - value) > 1e-4, `${title} has the loss of a Llama ${other}`);
    losses.set(title, loss);
  }
});

test("padding on either side changes no loss and no gradient", async (t) => {
  const { session, store } = await openTiny(
    tinyConfig,
    hiraOn(tinyConfig, "q_proj,v_proj,down_proj"),
  );
  const lossOf = async (batchRows: typeof rows): Promise<number> =>
    (await session.run(randomBatch(batchRows, tinyConfig.vocabSize), 1)).loss;
  clearGradients(store);
  let alone = 0;
  for (const row of rows) alone += await lossOf([{ ...row, left: 0, right: 0 }]);
  const expected = gradientsOf(store);
  for (const [left, right] of [
    [0, 1],
    [1, 0],
    [3, 2],
  ] as const) {
    clearGradients(store);
    const width = 8 + left + right;
    // A shorter row has the same columns on the left, or the same on the right.
    const padded = rows.map((row) =>
      right > 0
        ? { ...row, left, right: width - left - row.length }
        : { ...row, left: width - row.length, right: 0 },
    );
    const loss = await lossOf(padded);
    t.true(Math.abs(loss / alone - 1) < 1e-6, `${left} and ${right}: ${loss}, ${alone}`);
    t.true(distance(gradientsOf(store), expected) < 1e-5);
  }
  session.dispose();
});

test("the number of loss chunks changes no loss and no gradient, more chunks than labels included", async (t) => {
  const adapter = hiraOn(tinyConfig, "q_proj,up_proj");
  const runIn = async (chunks: number) => {
    const { session, store } = await openTiny(tinyConfig, adapter, { chunks });
    const { loss } = await session.run(randomBatch(rows, tinyConfig.vocabSize), 1 / 13);
    session.dispose();
    return { loss, gradients: gradientsOf(store) };
  };
  const expected = await runIn(1);
  for (const chunks of [2, 3, 20]) {
    const { loss, gradients } = await runIn(chunks);
    t.true(Math.abs(loss / expected.loss - 1) < 1e-6, `${chunks}: ${loss}, ${expected.loss}`);
    t.true(distance(gradients, expected.gradients) < 1e-6, `${chunks} chunks`);
  }
});

test("gradient checkpointing changes no bit of a loss or gradient", async (t) => {
  const runWith = async (adapter: Adapter, recomputeLayers: boolean) => {
    const { session, store } = await openTiny(tinyConfig, adapter, { recomputeLayers });
    const { loss } = await session.run(randomBatch(rows, tinyConfig.vocabSize), 1 / 13);
    session.dispose();
    return { loss, gradients: gradientsOf(store) };
  };
  for (const adapter of [
    hiraOn(tinyConfig, "q_proj,k_proj,v_proj,up_proj,down_proj"),
    fullAdapter(tinyConfig),
  ])
    t.deepEqual(await runWith(adapter, true), await runWith(adapter, false));
});
