import { fileURLToPath } from "node:url";
import test from "ava";
import { randomStream } from "../../src/core/random.js";
import { ModelEngine, type EngineOptions } from "../../src/decode/engine.js";
import { freshBehind } from "../../src/decode/fresh-mask.js";
import { generate } from "../../src/decode/generate.js";
import { defaultDecodeSettings, type DecodeSettings } from "../../src/decode/settings.js";
import { decoderModel } from "../../src/models/blocks/decoder.js";
import { MASKED } from "../../src/models/blocks/attention.js";
import { loadModelFolder } from "../../src/models/model-folder.js";
import { openFrozenWeights } from "../../src/models/weights/frozen-weights.js";
import { buildAdapter } from "../../src/peft/build-adapter.js";
import { cpuPlan } from "../../src/runtime/compute-plan.js";
import type { Device } from "../../src/runtime/device.js";
import { cpuDevice } from "../../src/runtime/devices/cpu.js";
import { Tensor } from "../../src/runtime/tensor.js";
import { defaultAdapterSettings } from "../support/adapter-settings.js";
import { drawnStore, loadTinyBase } from "../support/adapted-model.js";
import { appendingDevice } from "../support/appending-device.js";
import { checkGoldenCase, readBeamGoldens } from "../support/beam-goldens.js";
import { randomWeights, tinyConfig } from "../support/random-llama.js";

const fixture = (name: string): string =>
  fileURLToPath(new URL(`../fixtures/decode/${name}`, import.meta.url));

const openLlama = async (device: Device, change: Partial<EngineOptions> = {}) => {
  const { model, weights } = await loadModelFolder(fixture("tiny-llama"));
  return ModelEngine.create({
    model,
    weights: await openFrozenWeights(weights, { storage: "float32" }),
    maxPositions: 160,
    plan: { ...cpuPlan(1), device },
    ...change,
  });
};

test("caches that the host appends to give transformers' tokens and scores in the stored cases", async (t) => {
  const engine = await openLlama(appendingDevice().device);
  for (const golden of readBeamGoldens(fixture("beam_cases.json")))
    await checkGoldenCase(t, engine, golden);
  engine.dispose();
});

test("caches that the host appends to give them for more beams than are fed at once, and for prompts in pieces", async (t) => {
  const { device } = appendingDevice();
  const engine = await openLlama(device, { maxPositions: 4 + 5, activationBytes: 1 });
  for (const golden of readBeamGoldens(fixture("wide_beam_cases.json")))
    await checkGoldenCase(t, engine, golden);
  engine.dispose();
});

const settings: DecodeSettings = {
  ...defaultDecodeSettings,
  maxNewTokens: 24,
  eosIds: [2],
  padId: 3,
};

/** Tokens and scores of beams and of greedy decoding, of prompts that end at different times. */
const decoded = async (engine: ModelEngine) => {
  const words = engine.vocabularySize - 4;
  const prompts = [3, 40, 1, 7].map((length, row) => {
    const stream = randomStream(4, "prompts", row);
    return { ids: Array.from({ length }, () => 4 + stream.integer(words)) };
  });
  const found = [];
  for (const numBeams of [1, 4])
    found.push(
      ...(await generate({ engine, prompts, settings: { ...settings, numBeams }, batch: 4 })),
    );
  return found.flat();
};

/** What both forms of caches decode. */
const inBothForms = async (open: (device: Device) => Promise<ModelEngine>) => {
  const results = [];
  for (const device of [cpuDevice, appendingDevice().device]) {
    const engine = await open(device);
    results.push(await decoded(engine));
    engine.dispose();
  }
  return results;
};

const cases: Readonly<Record<string, () => Promise<(device: Device) => Promise<ModelEngine>>>> = {
  "a model with windows and without": () => {
    const config = { ...tinyConfig, windows: [5, undefined] };
    const [model, weights] = [decoderModel(config), randomWeights(config)];
    return Promise.resolve((device) =>
      ModelEngine.create({ model, weights, maxPositions: 64, plan: { ...cpuPlan(1), device } }),
    );
  },
  "a trained prefix in front of the prompts": async () => {
    const base = await loadTinyBase();
    const given = { ...defaultAdapterSettings, virtualTokens: 3 };
    const adapter = buildAdapter("prefix", base.model, given, new Set());
    const live = { adapter, values: drawnStore(adapter, base).values };
    return (device) =>
      ModelEngine.create({ ...base, live, maxPositions: 64, plan: { ...cpuPlan(1), device } });
  },
  "prompts in pieces of 16 columns": () =>
    Promise.resolve((device) => openLlama(device, { activationBytes: 1 })),
};
for (const [name, prepare] of Object.entries(cases))
  test(`caches that the host appends to give the texts of those that the session writes: ${name}`, async (t) => {
    const [inPlace = [], appended = []] = await inBothForms(await prepare());
    t.true(inPlace.length > 4);
    t.deepEqual(
      appended.map(({ tokens }) => tokens),
      inPlace.map(({ tokens }) => tokens),
    );
    appended.forEach(({ score }, i) => {
      t.true(Math.abs(score - (inPlace[i]?.score ?? NaN)) < 1e-4, `score ${String(i)}`);
    });
  });

test("of caches that the host appends to, a run writes the new keys and values alone, and prompts read none", async (t) => {
  const { device, runs } = appendingDevice();
  const engine = await openLlama(device);
  const prompts = [{ ids: [9, 10, 11, 12, 13] }, { ids: [20, 21] }];
  await generate({ engine, prompts, settings: { ...settings, numBeams: 3, eosIds: [] }, batch: 2 });
  const [first, ...steps] = runs.map(({ inputs, outputs }) => ({
    read: inputs.find(({ name }) => name === "keys.0")?.shape,
    written: outputs.map(({ shape }) => shape[2]),
    names: new Set(outputs.map(({ name }) => name.split(".").at(-1))),
  }));
  t.is(first?.read?.[2], 1);
  t.true(first?.written.every((slots) => slots === 5));
  t.is(steps.length, 23);
  // A new shape costs a runtime a new preparation: 23 steps of 3 beams have two at most.
  t.true(new Set(steps.map(({ read }) => String(read))).size <= 2);
  t.true(steps.every(({ written }) => written.length > 0 && written.every((slots) => slots === 3)));
  t.true(steps.every(({ names }) => names.size === 1 && names.has("fresh")));
  engine.dispose();
});

test("freshBehind moves the columns of new tokens behind the cache, where nobody sees their slots", (t) => {
  const [x, o] = [MASKED, 0];
  const mask = Tensor.fromArray(
    "float32",
    [1, 1, 1, 2, 4],
    Float32Array.of(...[o, x, o, x], ...[o, o, x, o]),
  );
  const behind = freshBehind(mask, [2, 3], 4);
  t.deepEqual(behind.shape, [1, 1, 1, 2, 6]);
  t.deepEqual(behind.data, Float32Array.of(...[o, x, x, x, o, x], ...[o, o, x, x, x, o]));
  // Without a cache one column stands for it.
  const causal = Tensor.fromArray("float32", [2, 2], Float32Array.of(o, x, o, o));
  t.deepEqual(freshBehind(causal, [0, 1], 1).data, Float32Array.of(x, o, x, x, o, o));
});
