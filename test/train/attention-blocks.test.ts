import test from "ava";
import type { JsonObject } from "../../src/core/json-file.js";
import { classifierModel } from "../../src/models/classifier.js";
import { parseConfig } from "../../src/models/model-folder.js";
import { buildAdapter } from "../../src/peft/build-adapter.js";
import type { PeftType } from "../../src/peft/registry.js";
import type { Graph } from "../../src/graph/graph.js";
import { cpuPlan } from "../../src/runtime/compute-plan.js";
import { buildLossGraph } from "../../src/train/loss-graph.js";
import { LossSession, type LossSessionOptions } from "../../src/train/loss-session.js";
import { clearGradients, type ParameterStore } from "../../src/train/parameters.js";
import { taskOf } from "../../src/train/tasks/registry.js";
import { drawnStore } from "../support/adapted-model.js";
import { defaultAdapterSettings } from "../support/adapter-settings.js";
import { randomBatch, randomWeightsOf } from "../support/random-llama.js";

const decoder = {
  vocab_size: 23,
  hidden_size: 16,
  intermediate_size: 20,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 64,
};

const models: Readonly<Record<string, object>> = {
  llama: { model_type: "llama", ...decoder },
  "mistral, window 4, dropout": {
    model_type: "mistral",
    ...decoder,
    sliding_window: 4,
    attention_dropout: 0.2,
  },
  "gemma2, window 5 in every other layer": {
    model_type: "gemma2",
    ...decoder,
    head_dim: 4,
    sliding_window: 5,
    attn_logit_softcapping: 2.0,
    query_pre_attn_scalar: 4,
  },
  "bert, dropout": {
    model_type: "bert",
    vocab_size: 23,
    hidden_size: 16,
    intermediate_size: 20,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    max_position_embeddings: 64,
    hidden_act: "gelu",
    hidden_dropout_prob: 0,
    attention_probs_dropout_prob: 0.2,
  },
};

const longRows = [
  { length: 11, context: 2, left: 0, right: 3 },
  { length: 14, context: 1, left: 0, right: 0 },
  { length: 5, context: 1, left: 6, right: 3 },
];

const shortRows = [{ length: 2, context: 1, left: 0, right: 0 }];

const open = async (
  config: object,
  peftType: PeftType,
  options: Partial<LossSessionOptions>,
): Promise<{ readonly session: LossSession; readonly store: ParameterStore }> => {
  const base = parseConfig(config as JsonObject, "the test");
  const model = base.head ? base : classifierModel(base, ["a", "b"]);
  const weights = randomWeightsOf(model);
  const targetModules = base.head ? "q_proj,k_proj,v_proj,down_proj" : "query,key,value,dense";
  const adapter = buildAdapter(
    peftType,
    model,
    { ...defaultAdapterSettings, targetModules },
    new Set(),
  );
  const store = drawnStore(adapter, { model, weights });
  const session = await LossSession.create(
    {
      ...{ model, adapter, maxPositions: 20, chunks: 1, gradients: true },
      ...{ recomputeLayers: false, task: taskOf(model, 0) },
      ...options,
    },
    weights,
    store,
    cpuPlan(1),
  );
  return { session, store };
};

type Found = ReadonlyMap<string, Float32Array>;

const find = async (
  { session, store }: Awaited<ReturnType<typeof open>>,
  rows: typeof longRows,
): Promise<Found> => {
  clearGradients(store);
  const batch = { ...randomBatch(rows, 23), classes: Int32Array.from(rows, (_, i) => i % 2) };
  const { loss } = await session.run(batch, 0.1, { draw: { seed: 4, step: 0, microBatch: 0 } });
  const gradients = [...store.gradients].map(
    ([name, { data }]) => [name, (data as Float32Array).slice()] as const,
  );
  return new Map([["loss", Float32Array.of(loss)], ...gradients]);
};

const largestOf = (values: Float32Array): number =>
  values.reduce((most, x) => Math.max(most, Math.abs(x)), 0);

/**
 * The largest difference over all tensors, over the largest element of its tensor, or over a thousandth of the largest of all, where that
 * is more: a gradient may be nothing but rounding.
 */
const distance = (found: Found, expected: Found): number => {
  const floor = Math.max(...[...expected.values()].map(largestOf)) / 1000;
  return Math.max(
    ...[...expected].map(([name, values]) => {
      const other = found.get(name) ?? new Float32Array();
      const differences = values.map((x, i) => x - (other[i] ?? NaN));
      return differences.some(Number.isNaN)
        ? NaN
        : largestOf(differences) / Math.max(floor, largestOf(values));
    }),
  );
};

test("attention in blocks gives the loss and every gradient of whole scores, in blocks that are full, part full and empty", async (t) => {
  const cases: readonly (readonly [string, PeftType, Partial<LossSessionOptions>])[] = [
    // Few rows: probabilities are kept. An unknown number of them: they are made again.
    ["llama", "hira", { maxRows: 1 }],
    ["llama", "hira", { recomputeLayers: true }],
    ["llama", "prompt-tuning", {}],
    ["mistral, window 4, dropout", "prefix", { drops: true }],
    ["gemma2, window 5 in every other layer", "hira", {}],
    ["bert, dropout", "hira", { drops: true }],
  ];
  for (const [name, peftType, options] of cases) {
    const whole = await open(models[name] ?? {}, peftType, options);
    const blocks = await open(models[name] ?? {}, peftType, { ...options, blockRows: 5 });
    for (const rows of [longRows, shortRows]) {
      const error = distance(await find(blocks, rows), await find(whole, rows));
      t.true(error < 5e-6, `${name}, ${peftType}: ${error}`);
    }
    whole.session.dispose();
    blocks.session.dispose();
  }
});

test("no scores of a whole long row are in the graph, and none of a block outlive the forward pass where they are made again", (t) => {
  const model = parseConfig(models.llama as JsonObject, "the test");
  const graph = (maxRows: number | undefined, maxPositions = 2048): Graph =>
    buildLossGraph({
      model,
      adapter: buildAdapter("hira", model, defaultAdapterSettings, new Set()),
      typeOf: (name) => ({ dtype: "float32", shape: model.tensors.get(name) ?? [] }),
      ...{ maxPositions, maxRows, chunks: 1, gradients: true, recomputeLayers: false },
    });
  const scoresIn = (made: Graph) =>
    made.nodes.filter(
      ({ op, outputs: [scores] }) => op.opType === "Softmax" && scores?.shape.length === 5,
    );
  const long = graph(undefined);
  t.true(scoresIn(long).length > 0);
  for (const { outputs } of scoresIn(long)) t.false(outputs[0]?.shape[3] === "seq");
  const kept = (made: Graph) => {
    const forward = new Set(scoresIn(made).filter(({ backward }) => !backward));
    return made.nodes.filter(
      ({ backward, inputs }) =>
        backward && inputs.some(({ producer }) => producer && forward.has(producer)),
    ).length;
  };
  t.is(kept(long), 0);
  t.true(kept(graph(0.001)) > 0);
  // Rows of 256 columns have their scores whole.
  t.deepEqual(
    [...new Set(scoresIn(graph(1, 256)).map(({ outputs }) => outputs[0]?.shape[3]))],
    ["seq"],
  );
});
