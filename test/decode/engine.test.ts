import { cpuPlan } from "../../src/runtime/compute-plan.js";
import { fileURLToPath } from "node:url";
import test from "ava";
import { narrowFloat32, widenBfloat16 } from "../../src/core/half.js";
import { randomStream } from "../../src/core/random.js";
import type { LiveAdapter } from "../../src/decode/decode-graph.js";
import { ModelEngine, type EngineOptions } from "../../src/decode/engine.js";
import { generate } from "../../src/decode/generate.js";
import { mergeAdapter, mergedBytes } from "../../src/decode/merge-adapter.js";
import { openEngine, type OpenEngineOptions } from "../../src/decode/open-engine.js";
import { defaultDecodeSettings, type DecodeSettings } from "../../src/decode/settings.js";
import type { DecodeEngine } from "../../src/decode/step-engine.js";
import type { Model } from "../../src/models/model.js";
import { loadModelFolder } from "../../src/models/model-folder.js";
import {
  openFrozenWeights,
  replaceWeights,
  type FrozenWeights,
} from "../../src/models/weights/frozen-weights.js";
import { createFullAdapter, createLinearAdapter } from "../../src/peft/adapter.js";
import { fft } from "../../src/peft/fft.js";
import { hira } from "../../src/peft/hira.js";
import { kaimingUniform, zeros } from "../../src/peft/init.js";
import { selectTargets } from "../../src/peft/targets.js";
import { Tensor } from "../../src/runtime/tensor.js";
import { checkGoldenCase, readBeamGoldens } from "../support/beam-goldens.js";
import { sharedPath, testWithShared } from "../support/shared.js";

const fixture = (name: string): string =>
  fileURLToPath(new URL(`../fixtures/decode/${name}`, import.meta.url));

const loadTiny = async (folder = fixture("tiny-llama")) => {
  const { model, weights: entries } = await loadModelFolder(folder);
  return { model, weights: await openFrozenWeights(entries, { storage: "float32" }) };
};

const openLlama = async (
  change: Partial<EngineOptions> = {},
  folder?: string,
): Promise<ModelEngine> =>
  ModelEngine.create({
    ...(await loadTiny(folder)),
    maxPositions: 160,
    plan: cpuPlan(1),
    ...change,
  });

const methodOptions = {
  rank: 0,
  initA: kaimingUniform,
  initB: zeros,
  trainA: true,
  trainB: true,
  randomR: false,
  biasTwice: false,
};

const prompts = [3, 11, 1, 7, 5, 11, 2, 9].map((length, row) => {
  const stream = randomStream(4, "prompts", row);
  return { ids: Array.from({ length }, () => 8 + stream.integer(88)) };
});
const base = { ...defaultDecodeSettings, maxNewTokens: 24, eosIds: [2], padId: 3 };
const textsOf = async (engine: DecodeEngine, settings: DecodeSettings, batch = 4) =>
  (await generate({ engine, prompts, settings, batch, seed: 3 })).map((texts) =>
    texts.map(({ tokens }) => tokens),
  );

testWithShared(
  "ModelEngine gives transformers' tokens and scores in the 52 stored cases",
  "goldens/beams.json",
  async (t, path) => {
    const engine = await openLlama({}, sharedPath("goldens/tiny-llama"));
    for (const golden of readBeamGoldens(path)) await checkGoldenCase(t, engine, golden);
    engine.dispose();
  },
);

test("ModelEngine gives transformers' tokens and scores with other early stopping, penalties and eos lists", async (t) => {
  const engine = await openLlama();
  for (const golden of readBeamGoldens(fixture("beam_cases.json")))
    await checkGoldenCase(t, engine, golden);
  engine.dispose();
});

test("ModelEngine takes more beams than its tables have positions, and gives transformers' tokens and scores (9.8)", async (t) => {
  // The longest prompt and its new tokens, and no position more; 16 beams at a time, and all at once.
  const engines = [
    await openLlama({ maxPositions: 4 + 5 }),
    await openLlama({ maxPositions: 4 + 5, activationBytes: 1 }),
  ];
  for (const engine of engines) {
    for (const golden of readBeamGoldens(fixture("wide_beam_cases.json")))
      await checkGoldenCase(t, engine, golden);
    engine.dispose();
  }
});

test("ModelEngine samples with more beams than its tables have positions: several texts, and beam sampling (9.8)", async (t) => {
  const short = prompts.filter(({ ids }) => ids.length < 4);
  const few = { ...base, maxNewTokens: 2, doSample: true };
  for (const change of [{ numReturnSequences: 60 }, { numBeams: 30, numReturnSequences: 30 }]) {
    const texts = async (maxPositions: number): Promise<unknown> => {
      const engine = await openLlama({ maxPositions });
      const options = { engine, prompts: short, settings: { ...few, ...change }, batch: 4 };
      const found = await generate({ ...options, seed: 3 });
      engine.dispose();
      return found;
    };
    t.deepEqual(await texts(5), await texts(160));
  }
});

/** A HiRA adapter with both halves drawn wide, so that it changes the texts. */
const drawnAdapter = (model: Model): LiveAdapter => {
  const targets = selectTargets(model.linears, "q_proj,v_proj,up_proj,down_proj");
  const adapter = createLinearAdapter(hira, { ...methodOptions, rank: 4 }, targets);
  const values = new Map(
    adapter.parameters.map(({ name, shape }) => {
      const stream = randomStream(1, name);
      const data = Float32Array.from({ length: shape[0]! * shape[1]! }, () => stream.normal() / 2);
      return [name, Tensor.fromArray("float32", shape, data)];
    }),
  );
  return { adapter, values };
};

/** The weights in bfloat16, and these widened again. */
const halved = (weights: FrozenWeights): Record<"narrow" | "widened", FrozenWeights> => {
  const narrow = new Map<string, Tensor>();
  const widened = new Map<string, Tensor>();
  for (const name of weights.names) {
    const { data, shape } = weights.tensor(name);
    const bits = narrowFloat32(data as Float32Array, "bfloat16");
    narrow.set(name, Tensor.fromArray("bfloat16", shape, bits));
    widened.set(name, Tensor.fromArray("float32", shape, widenBfloat16(bits)));
  }
  return { narrow: replaceWeights(weights, narrow), widened: replaceWeights(weights, widened) };
};

const kinds: Readonly<Record<string, DecodeSettings>> = {
  greedy: { ...base, noRepeatNgramSize: 3 },
  sampling: { ...base, doSample: true, numReturnSequences: 3 },
  "sampling with cuts": { ...base, doSample: true, temperature: 1.5, topK: 20, topP: 0.8 },
  "beam search": { ...base, numBeams: 4, numReturnSequences: 4, noRepeatNgramSize: 3 },
  "beam sampling": { ...base, numBeams: 3, numReturnSequences: 2, doSample: true, topK: 12 },
};
for (const [name, settings] of Object.entries(kinds)) {
  test(`generate with ModelEngine gives the same texts in batches of 1, 3 and 4, and again: ${name}`, async (t) => {
    const engine = await openLlama();
    const alone = await textsOf(engine, settings, 1);
    t.true(alone.every((texts) => texts.length === settings.numReturnSequences));
    t.deepEqual(await textsOf(engine, settings, 3), alone);
    t.deepEqual(await textsOf(engine, settings, 4), alone);
    t.deepEqual(await textsOf(engine, settings, 1), alone);
    engine.dispose();
  });
}

test("ModelEngine feeds long prompts in pieces with the same result", async (t) => {
  const settings = { ...base, numBeams: 2 };
  const long = Array.from({ length: 50 }, (_, i) => 8 + ((i * 37) % 88));
  const rows = [long, long.slice(0, 16), long.slice(0, 17), [9]].map((ids) => ({ ids }));
  const whole = await openLlama();
  const pieces = await openLlama({ activationBytes: 1 }); // 16 columns at a time
  const decode = async (engine: DecodeEngine) =>
    (await generate({ engine, prompts: rows, settings, batch: 4 })).map(([best]) => best!);
  const [expected, found] = [await decode(whole), await decode(pieces)];
  expected.forEach(({ tokens, score }, i) => {
    t.deepEqual(found[i]!.tokens, tokens);
    t.true(Math.abs(found[i]!.score - score) < 1e-5);
  });
  whole.dispose();
  pieces.dispose();
});

test("ModelEngine refuses prompts beyond its positions", async (t) => {
  const engine = await openLlama({ maxPositions: 20 });
  await t.throwsAsync(
    generate({
      engine,
      prompts: [{ ids: [9, 9] }],
      settings: { ...base, maxNewTokens: 19 },
      batch: 1,
    }),
    { instanceOf: RangeError, message: /2 tokens and 19 new ones.*20 positions/ },
  );
  engine.dispose();
});

test("ModelEngine stops within a run when the signal is aborted", async (t) => {
  const engine = await openLlama();
  const controller = new AbortController();
  const reason = new Error("stop");
  const { run } = await engine.start(prompts, {
    numBeams: 1,
    maxNewTokens: 9,
    width: 1,
    signal: controller.signal,
  });
  controller.abort(reason);
  const feed = { tokens: new Int32Array(prompts.length), parents: new Int32Array(prompts.length) };
  t.is(await t.throwsAsync(run.step({ ...feed, width: 1 })), reason);
  run.dispose();
  await t.throwsAsync(run.step({ ...feed, width: 1 }));
  engine.dispose();
});

test("ModelEngine computes with bfloat16 weights as with the same widened", async (t) => {
  const { model, weights } = await loadTiny();
  const { narrow, widened } = halved(weights);
  const a = await openLlama({ model, weights: narrow });
  const b = await openLlama({ model, weights: widened });
  const settings = { ...base, numBeams: 3 };
  t.deepEqual(await textsOf(a, settings), await textsOf(b, settings));
  a.dispose();
  b.dispose();
});

test("mergeAdapter forms W0 * (1 + B A) in every target and leaves the other tensors", async (t) => {
  const { model, weights } = await loadTiny();
  const { adapter, values } = drawnAdapter(model);
  const merged = await mergeAdapter(weights, adapter, values);
  const target = "model.layers.1.mlp.up_proj";
  const w0 = weights.tensor(`${target}.weight`).data as Float32Array;
  const w = merged.tensor(`${target}.weight`).data as Float32Array;
  const [a, b] = ["A", "B"].map((half) => values.get(`${target}.${half}`)!.data as Float32Array);
  w.forEach((found, i) => {
    const [out, column] = [Math.floor(i / 32), i % 32];
    let update = 0;
    for (let r = 0; r < 4; r++) update += b![out * 4 + r]! * a![r * 32 + column]!;
    const expected = w0[i]! * (1 + update);
    if (Math.abs(found - expected) > 1e-5) t.fail(`element ${String(i)} differs`);
  });
  t.is(merged.tensor("model.norm.weight"), weights.tensor("model.norm.weight"));
  t.is(merged.ownedBytes - weights.ownedBytes, mergedBytes(adapter));
});

test("openEngine gives the same texts with an adapter merged and live, and others than the base model's", async (t) => {
  const { model, weights } = await loadTiny();
  const adapted = drawnAdapter(model);
  const settings = { ...base, numBeams: 2 };
  const texts = async (options: Partial<OpenEngineOptions>) => {
    const engine = await openEngine({
      model,
      weights,
      maxPositions: 64,
      plan: cpuPlan(1),
      ...options,
    });
    const found = await textsOf(engine, settings);
    engine.dispose();
    return found;
  };
  const merged = await texts({ adapted, memoryBytes: Infinity });
  t.deepEqual(await texts({ adapted, memoryBytes: 0 }), merged);
  t.notDeepEqual(await texts({}), merged);
});

test("openEngine widens half precision where memory allows, with the same texts", async (t) => {
  const { model, weights } = await loadTiny();
  const { narrow } = halved(weights);
  const adapted = drawnAdapter(model);
  const settings = { ...base, numBeams: 2 };
  const found = [];
  // Nothing fits, the merged weights alone do, everything does.
  for (const memoryBytes of [0, mergedBytes(adapted.adapter), Infinity]) {
    const options = { model, weights: narrow, adapted, maxPositions: 64, threads: 1 };
    const engine = await openEngine({ ...options, memoryBytes });
    found.push(await textsOf(engine, settings));
    engine.dispose();
  }
  t.deepEqual(found[1], found[0]);
  t.deepEqual(found[2], found[0]);
});

test("mergeAdapter of full fine-tuning takes the trained tensors as they are", async (t) => {
  const { weights } = await loadTiny();
  const adapter = createFullAdapter(fft, new Map([["model.norm.weight", [32]]]));
  const trained = Tensor.zeros("float32", [32]);
  const merged = await mergeAdapter(weights, adapter, new Map([["model.norm.weight", trained]]));
  t.is(merged.tensor("model.norm.weight"), trained);
  t.is(mergedBytes(adapter), 0);
});
