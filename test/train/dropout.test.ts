import { cpuPlan } from "../../src/runtime/compute-plan.js";
import { readFileSync } from "node:fs";
import test from "ava";
import type { JsonObject } from "../../src/core/json-file.js";
import { parseConfig } from "../../src/models/model-folder.js";
import { buildAdapter } from "../../src/peft/build-adapter.js";
import { buildLossGraph } from "../../src/train/loss-graph.js";
import { LossSession } from "../../src/train/loss-session.js";
import type { ParameterStore } from "../../src/train/parameters.js";
import { clearGradients } from "../../src/train/parameters.js";
import type { PeftType } from "../../src/peft/registry.js";
import { readMetrics } from "../../src/report/metrics.js";
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { defaultAdapterSettings } from "../support/adapter-settings.js";
import { drawnStore, loadTinyBase } from "../support/adapted-model.js";
import { peftFixture } from "../support/adapter-base.js";
import { runHira } from "../support/run-hira.js";
import { makeTempFolder } from "../support/temp-folder.js";

const batch = {
  batch: 2,
  seq: 6,
  inputIds: BigInt64Array.from([1, 5, 9, 13, 2, 7, 1, 4, 4, 8, 3, 3], BigInt),
  attentionMask: Uint8Array.from([1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0]),
  labels: Int32Array.from([-100, -100, 9, 13, 2, 7, -100, 4, 4, 8, -100, -100]),
};
const draw = { seed: 42, step: 0, microBatch: 0 };

const open = async ({
  drops = true,
  recomputeLayers = false,
  loraDropout = 0.4,
  peftType = "lora",
  modelDropout,
  attention = 0,
}: {
  readonly drops?: boolean;
  readonly recomputeLayers?: boolean;
  readonly loraDropout?: number;
  readonly peftType?: PeftType;
  readonly modelDropout?: number;
  /** The model's rate for attention probabilities. */
  readonly attention?: number;
} = {}) => {
  const base = await loadTinyBase();
  const model = { ...base, model: { ...base.model, attentionDropout: attention } };
  const settings = { ...defaultAdapterSettings, dropout: loraDropout };
  const adapter = buildAdapter(peftType, model.model, settings, new Set());
  const store = drawnStore(adapter, model);
  const options = { model: model.model, adapter, maxPositions: 6, chunks: 1, gradients: true };
  const session = await LossSession.create(
    { ...options, drops, recomputeLayers, modelDropout },
    model.weights,
    store,
    cpuPlan(1),
  );
  return { session, store };
};

const gradientsOf = ({ groups }: ParameterStore): readonly Float32Array[] =>
  groups.map(({ gradients }) => (gradients.data as Float32Array).slice());

test("one draw gives the same bits again, with and without gradient checkpointing; another draw gives others", async (t) => {
  for (const peftType of ["lora", "dora", "mora", "hilora", "sparse-lora"] as const) {
    const found = [];
    for (const [recomputeLayers, step] of [
      [false, 0],
      [false, 0],
      [true, 0],
      [false, 1],
    ] as const) {
      const { session, store } = await open({ recomputeLayers, peftType });
      const { loss } = await session.run(batch, 0.1, { draw: { ...draw, step } });
      found.push({ loss, gradients: gradientsOf(store) });
      session.dispose();
    }
    const [once, twice, recomputed, other] = found;
    t.deepEqual(once, twice);
    t.deepEqual(recomputed, once, peftType);
    t.not(other?.loss, once?.loss);
  }
});

test("nothing is dropped in evaluation, nor at a rate of 0; a training graph wants a draw", async (t) => {
  const plain = await open({ loraDropout: 0 });
  const { loss } = await plain.session.run(batch, 0.1, { draw });
  const evaluation = await open({ drops: false });
  t.is((await evaluation.session.run(batch, 0.1)).loss, loss);
  const training = await open();
  t.not((await training.session.run(batch, 0.1, { draw })).loss, loss);
  await t.throwsAsync(training.session.run(batch, 0.1), {
    instanceOf: RangeError,
    message: /found no draw/,
  });
  for (const { session } of [plain, evaluation, training]) session.dispose();
});

const attentionOnly = { loraDropout: 0, attention: 0.4 };

test("dropout of attention probabilities repeats bit for bit, with a prefix in front too; --model_dropout=0 and evaluation drop none", async (t) => {
  for (const peftType of ["hira", "prefix", "prompt-tuning"] as const) {
    const run = async (
      settings: Parameters<typeof open>[0],
      step = 0,
    ): Promise<{ readonly loss: number; readonly gradients: readonly Float32Array[] }> => {
      const { session, store } = await open({ ...attentionOnly, peftType, ...settings });
      const { loss } = await session.run(batch, 0.1, { draw: { ...draw, step } });
      session.dispose();
      return { loss, gradients: gradientsOf(store) };
    };
    const once = await run({});
    t.deepEqual(await run({}), once, peftType);
    t.deepEqual(await run({ recomputeLayers: true }), once, peftType);
    t.not((await run({}, 1)).loss, once.loss);
    const plain = await run({ attention: 0 });
    t.not(plain.loss, once.loss);
    t.deepEqual(await run({ modelDropout: 0 }), plain);
    t.deepEqual(await run({ drops: false }), plain);
  }
});

test("no mask of attention outlives its part of the pass: backward makes it again from the keys", async (t) => {
  const { model, weights } = await loadTinyBase();
  const graph = buildLossGraph({
    model: { ...model, attentionDropout: 0.1 },
    adapter: buildAdapter("hira", model, defaultAdapterSettings, new Set()),
    typeOf: (name) => weights.typeOf(name),
    ...{ maxPositions: 6, chunks: 1, gradients: true, recomputeLayers: false, drops: true },
  });
  const scores = [model.kvHeads, model.heads / model.kvHeads].join();
  const kept = graph.nodes
    .filter(({ backward }) => backward)
    .flatMap(({ inputs }) => inputs)
    .filter(
      ({ producer, shape }) => producer?.backward === false && shape.slice(1, 3).join() === scores,
    );
  // The probabilities themselves, which softmax's gradient reads.
  t.deepEqual([...new Set(kept.map(({ producer }) => producer?.op.opType))], ["Softmax"]);
});

test("hidden states are dropped where transformers drops them, and attention once a layer", (t) => {
  const droppedIn = (family: string, rates: JsonObject): number => {
    const url = new URL(`../fixtures/models/families/${family}/model/config.json`, import.meta.url);
    const raw = JSON.parse(readFileSync(url, "utf8")) as JsonObject;
    const model = parseConfig({ ...raw, ...rates }, family);
    const graph = buildLossGraph({
      ...{ model, adapter: undefined, maxPositions: 6, chunks: 1 },
      ...{ gradients: false, recomputeLayers: false, drops: true },
      typeOf: (name) => ({ dtype: "float32", shape: model.tensors.get(name) ?? [] }),
    });
    // Of a mask, the product of row and column is compared.
    return graph.nodes.filter(
      ({ op, inputs }) => op.opType === "LessOrEqual" && inputs[0]?.dtype === "int32",
    ).length;
  };
  const none = { attention_dropout: 0, attn_pdrop: 0 };
  // Two places in each of the two layers, and GPT-2's embeddings.
  t.is(droppedIn("opt", { dropout: 0.1, ...none }), 4);
  t.is(droppedIn("phi3", { resid_pdrop: 0.1, ...none }), 4);
  t.is(droppedIn("gpt2", { resid_pdrop: 0.1, embd_pdrop: 0.1, ...none }), 5);
  for (const [family, rates] of Object.entries({
    opt: { dropout: 0 },
    phi3: {},
    gpt2: { resid_pdrop: 0, embd_pdrop: 0 },
    gemma2: {},
  }))
    t.is(
      droppedIn(family, { ...rates, attention_dropout: 0.1, attn_pdrop: 0.1 }),
      family === "gemma2" ? 3 : 2,
      family,
    );
});

const differences = {
  lora: { peftType: "lora" },
  mora: { peftType: "mora" },
  hilora: { peftType: "hilora" },
  "hira, attention": { peftType: "hira", ...attentionOnly },
  "prefix, attention": { peftType: "prefix", ...attentionOnly },
} as const;

for (const [name, settings] of Object.entries(differences))
  test(`the gradient is that of the loss under one mask, by central differences: ${name}`, async (t) => {
    const { session, store } = await open(settings);
    await session.run(batch, 0.1, { draw });
    const gradients = gradientsOf(store);
    const square = gradients.reduce((sum, part) => sum + part.reduce((s, x) => s + x * x, 0), 0);
    const start = store.groups.map(({ values }) => (values.data as Float32Array).slice());
    /** The loss a small way along the gradient. */
    const lossAt = async (distance: number): Promise<number> => {
      store.groups.forEach(({ values }, group) => {
        const data = values.data as Float32Array;
        for (const i of data.keys())
          data[i] = start[group]![i]! + (distance * gradients[group]![i]!) / Math.sqrt(square);
      });
      clearGradients(store);
      return (await session.run(batch, 0.1, { draw })).loss;
    };
    const h = 5e-4;
    const slope = ((await lossAt(h)) - (await lossAt(-h))) / (2 * h);
    t.true(
      Math.abs(slope / Math.sqrt(square) - 1) < 5e-3,
      `${String(slope)}, ${String(Math.sqrt(square))}`,
    );
    session.dispose();
  });

test("hira train --lora_dropout repeats bit for bit, and saves the rate", async (t) => {
  const folder = await makeTempFolder(t);
  const rows = join(folder, "rows.jsonl");
  const row = (ids: readonly number[]) => JSON.stringify({ input_ids: ids, labels: ids });
  await writeFile(
    rows,
    [
      [1, 5, 6, 7],
      [1, 8, 9, 4],
      [1, 3, 5, 2],
      [1, 2, 2, 6],
    ]
      .map(row)
      .join("\n"),
  );
  const run = async (name: string, ...flags: string[]) => {
    const { code, err } = await runHira(
      ...["--peft_type=lora", `--model=${peftFixture("base")}`, `--dataset=${rows}`, "--r_ab=2"],
      ...["--eval_strategy=no", "--batch=2", "--grad_acc=2", "--max_steps=4", "--lr=0.1"],
      ...["--warmup=0", `--output_folder=${join(folder, name)}`, ...flags],
    );
    t.is(code, 0, err);
    const [runName = ""] = await readdir(join(folder, name));
    const metrics = await readMetrics(join(folder, name, runName, "metrics.jsonl"));
    return metrics.map(({ loss, gradNorm }) => [loss, gradNorm]);
  };
  const first = await run("a", "--lora_dropout=0.3");
  t.is(first.length, 4);
  t.deepEqual(await run("b", "--lora_dropout=0.3"), first);
  t.deepEqual(await run("c", "--lora_dropout=0.3", "--enable_grad_ckpt"), first);
  t.notDeepEqual(await run("d"), first);
  t.notDeepEqual(await run("e", "--lora_dropout=0.3", "--seed=7"), first);
});
