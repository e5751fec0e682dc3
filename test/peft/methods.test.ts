import { readFileSync } from "node:fs";
import test from "ava";
import { UserError } from "../../src/core/errors.js";
import { ModelEngine } from "../../src/decode/engine.js";
import { generate } from "../../src/decode/generate.js";
import { mergedForm, mergedModel } from "../../src/decode/merge-adapter.js";
import { defaultDecodeSettings } from "../../src/decode/settings.js";
import { readAdapter } from "../../src/peft/adapter-files.js";
import {
  adapterBaseOf,
  adapterOfDescription,
  buildAdapter,
  describeAdapter,
  type AdapterSettings,
} from "../../src/peft/build-adapter.js";
import { peftMethods, type PeftType } from "../../src/peft/registry.js";
import { Tensor } from "../../src/runtime/tensor.js";
import { readTrainedWeights, writeTrainedWeights } from "../../src/train/trained-weights.js";
import { baseOfFixture, peftFixture } from "../support/adapter-base.js";
import {
  drawnStore,
  largestDifference,
  loadTinyBase,
  logitsOf,
  startStore,
} from "../support/adapted-model.js";
import { loadModelFolder } from "../../src/models/model-folder.js";
import { defaultAdapterSettings } from "../support/adapter-settings.js";
import { checkGreedyDecoding } from "../support/greedy-decoding.js";
import { makeTempFolder } from "../support/temp-folder.js";

const ids = [1, 5, 9, 13, 2, 7];

interface Variant {
  readonly peftType: PeftType;
  /** A fixture of a base model. */
  readonly base?: string;
  readonly settings?: Partial<AdapterSettings>;
}

const onTables = (peftType: PeftType): Variant => ({
  peftType,
  settings: {
    targetModules: "q_proj,embed_tokens,lm_head",
    rankPattern: new Map([["lm_head", 3]]),
  },
});

/** On a model whose layers lie [in, out] in its file. */
const turned = (peftType: PeftType, settings: Partial<AdapterSettings> = {}): Variant => ({
  peftType,
  base: "base-conv",
  settings: { targetModules: "c_attn,mlp.c_proj", ...settings },
});

const linear: Readonly<Record<string, Variant>> = {
  HiRA: { peftType: "hira" },
  "HiRA with R": { peftType: "hira", settings: { randomR: true } },
  LoRA: { peftType: "lora" },
  rsLoRA: { peftType: "rslora" },
  DoRA: { peftType: "dora" },
  "MoRA of type 6": { peftType: "mora" },
  "MoRA of type 1": { peftType: "mora", settings: { moraType: 1 } },
  HiLoRA: { peftType: "hilora" },
  "Sparse LoRA": { peftType: "sparse-lora" },
  "LoRA beside modules that train in full": {
    peftType: "lora",
    settings: { modulesToSave: ["lm_head", "embed_tokens", "norm", "o_proj"] },
  },
  "HiRA with layers, ranks and saved modules": {
    peftType: "hira",
    settings: {
      layers: [1],
      rankPattern: new Map([["q_proj", 3]]),
      modulesToSave: ["lm_head", "k_proj"],
    },
  },
  "LoRA on embedding and head (9.20)": onTables("lora"),
  "rsLoRA on embedding and head (9.20)": onTables("rslora"),
  "DoRA on embedding and head (9.20)": onTables("dora"),
  "LoRA on embedding and head, which are tied (9.20)": { ...onTables("lora"), base: "base-tied" },
  "DoRA on the embedding, to which the head is tied (9.20)": {
    peftType: "dora",
    base: "base-tied",
    settings: { targetModules: "embed_tokens" },
  },
  "LoRA on a tied head, beside an embedding that trains in full (9.20)": {
    peftType: "lora",
    base: "base-tied",
    settings: { targetModules: "lm_head", modulesToSave: ["embed_tokens"] },
  },
  "DoRA with rsLoRA's scale (9.21)": { peftType: "dora", settings: { rankStabilized: true } },
  "Sparse LoRA with rsLoRA's scale (9.21)": {
    peftType: "sparse-lora",
    settings: { rankStabilized: true },
  },
  "HiRA on layers stored [in, out]": turned("hira", { randomR: true }),
  "DoRA on layers stored [in, out]": turned("dora", { modulesToSave: ["c_fc"] }),
  "MoRA on layers stored [in, out]": turned("mora"),
  "HiLoRA on layers stored [in, out], and not on all": turned("hilora", { layers: [1] }),
};
const virtual: Readonly<Record<string, Variant>> = {
  "prefix tuning": { peftType: "prefix" },
  "prefix tuning with a projection": { peftType: "prefix", settings: { prefixProjection: true } },
  "prompt tuning": { peftType: "prompt-tuning" },
  "p-tuning": { peftType: "p-tuning" },
  "p-tuning with an LSTM": { peftType: "p-tuning", settings: { encoderType: "LSTM" } },
};

const open = async ({ peftType, base, settings }: Variant) => {
  const model = await loadTinyBase(base);
  const adapter = buildAdapter(
    peftType,
    model.model,
    { ...defaultAdapterSettings, ...settings },
    new Set(),
  );
  return { model, adapter };
};

for (const [title, variant] of Object.entries(linear)) {
  test(`an untrained adapter is the base model: ${title}`, async (t) => {
    const { model, adapter } = await open(variant);
    const { values } = startStore(adapter, model);
    const base = await logitsOf(model, ids);
    t.true(largestDifference(await logitsOf(model, ids, { adapter, values }), base) < 1e-5);
  });

  test(`merged equals unmerged: ${title}`, async (t) => {
    const { model, adapter } = await open(variant);
    const { values } = drawnStore(adapter, model);
    const live = await logitsOf(model, ids, { adapter, values });
    t.true(largestDifference(live, await logitsOf(model, ids)) > 0.05);
    const merged = await mergedModel(model.model, model.weights, { adapter, values });
    t.true(largestDifference(await logitsOf(merged, ids), live) < 1e-4);
    const form = mergedForm({ adapter, values });
    t.true(largestDifference(await logitsOf(model, ids, form), live) < 1e-4);
  });
}

for (const [title, variant] of Object.entries(linear))
  test(`decoding computes it beside the weights where memory is short: ${title}`, async (t) => {
    const { model, adapter } = await open(variant);
    const adapted = { adapter, values: drawnStore(adapter, model).values };
    await checkGreedyDecoding(t, { model, adapted }, { ids, tokens: 1, memoryBytes: 0 });
  });

for (const [title, variant] of Object.entries({ ...linear, ...virtual })) {
  test(`an adapter folder holds all of an adapter: ${title}`, async (t) => {
    const { model, adapter } = await open(variant);
    const store = drawnStore(adapter, model);
    const expected = await logitsOf(model, ids, { adapter, values: store.values });
    const folder = await makeTempFolder(t);
    const base = { folder: await loadModelFolder(peftFixture(variant.base ?? "base")) };
    await writeTrainedWeights(folder, base, adapter, store);

    const read = await readAdapter(folder, adapterBaseOf(model.model));
    const again = adapterOfDescription(read.adapter, model.model, new Set());
    const values = new Map(
      [...read.values].map(([name, { shape, data }]) => [
        name,
        Tensor.fromArray("float32", shape, data),
      ]),
    );
    t.is(again.method, adapter.method);
    t.true(
      largestDifference(await logitsOf(model, ids, { adapter: again, values }), expected) < 1e-6,
    );
    const described = describeAdapter(again, "");
    const { method, options } = read.adapter;
    t.like(described, { method, options, baseModel: "" });
    if (described && "modules" in described && "modules" in read.adapter) {
      t.deepEqual([...described.modules.keys()], [...read.adapter.modules.keys()]);
      t.deepEqual(described.modulesToSave, read.adapter.modulesToSave);
      for (const [path, own] of read.adapter.modules) t.like(described.modules.get(path), own);
    } else t.false(Boolean(described && "modules" in described));

    const other = startStore(adapter, model);
    await readTrainedWeights(folder, base, adapter, other);
    for (const [name, { data }] of store.values) t.deepEqual(other.values.get(name)?.data, data);
  });
}

const stored = JSON.parse(readFileSync(peftFixture("logits.json"), "utf8")) as {
  readonly logits: Readonly<Record<string, readonly number[]>>;
};
for (const [name, expected] of Object.entries(stored.logits)) {
  test(`logits are peft's: ${name}`, async (t) => {
    const model = await loadTinyBase(baseOfFixture(name));
    if (name === "base") {
      t.true(largestDifference(await logitsOf(model, ids), expected) < 1e-5);
      return;
    }
    const base = adapterBaseOf(model.model);
    const { adapter: description, values } = await readAdapter(peftFixture(name), base);
    const adapter = adapterOfDescription(description, model.model, new Set());
    const tensors = new Map(
      [...values].map(([key, { shape, data }]) => [key, Tensor.fromArray("float32", shape, data)]),
    );
    const logits = await logitsOf(model, ids, { adapter, values: tensors });
    t.true(largestDifference(logits, expected) < 1e-4);
  });
}

for (const [title, variant] of Object.entries(virtual)) {
  test(`decoding sees the virtual tokens that training sees: ${title}`, async (t) => {
    const { model, adapter } = await open(variant);
    const live = { adapter, values: drawnStore(adapter, model).values };
    const settings = { ...defaultDecodeSettings, maxNewTokens: 5, eosIds: [], padId: 3 };
    // 16 columns are fed at a time: the longest prompt goes in two pieces.
    const long = Array.from({ length: 21 }, (_, i) => 4 + ((5 * i) % 11));
    const prompts = [ids, [4, 8], long].map((prompt) => ({ ids: prompt }));
    const engine = await ModelEngine.create({
      ...model,
      live,
      maxPositions: 26,
      activationBytes: 1,
    });
    for (const numBeams of [1, 2]) {
      const found = await generate({
        engine,
        prompts,
        settings: { ...settings, numBeams },
        batch: 3,
      });
      for (const [row, prompt] of prompts.entries()) {
        const best = found[row]?.[0];
        const text = [...prompt.ids, ...(best?.tokens ?? [])];
        const logits = await logitsOf(model, text, live);
        let score = 0;
        for (let at = prompt.ids.length; at < text.length; at++) {
          const row = Array.from(logits.subarray((at - 1) * 16, at * 16));
          const chosen = text[at] ?? -1;
          if (numBeams === 1) t.is(chosen, row.indexOf(Math.max(...row)));
          score += (row[chosen] ?? NaN) - Math.log(row.reduce((sum, x) => sum + Math.exp(x), 0));
        }
        if (numBeams === 2) t.true(Math.abs((best?.score ?? NaN) * 5 - score) < 1e-4);
      }
    }
    engine.dispose();
  });
}

test("--rand_R is for HiRA alone", async (t) => {
  const settings = { randomR: true };
  const error = await t.throwsAsync(open({ peftType: "hilora", settings }), {
    instanceOf: UserError,
  });
  t.regex(error.message, /^Cannot use --rand_R with --peft_type=hilora: expected hira/);
});

test("virtual tokens cannot be merged", async (t) => {
  const { model, adapter } = await open({ peftType: "prefix" });
  const { values } = startStore(adapter, model);
  const error = await t.throwsAsync(mergedModel(model.model, model.weights, { adapter, values }), {
    instanceOf: UserError,
  });
  t.regex(
    error.message,
    /^Cannot merge prefix: found virtual tokens, which are no part of the weights, expected /,
  );
});

test("virtual tokens must leave positions for the text", async (t) => {
  const settings = { virtualTokens: 64 };
  const error = await t.throwsAsync(open({ peftType: "prompt-tuning", settings }), {
    instanceOf: UserError,
  });
  t.regex(error.message, /^Cannot use --virtual_tokens=64: expected fewer than the model's 64/);
});

test("prompt tuning starts from a text's embeddings, repeated and cut", async (t) => {
  const { model, weights } = await loadTinyBase();
  const adapter = buildAdapter(
    "prompt-tuning",
    model,
    { ...defaultAdapterSettings, promptInitText: "two words" },
    new Set(),
    { encode: () => [6, 4], decode: () => "" },
  );
  const table = weights.tensor("model.embed_tokens.weight").data;
  const rows = [6, 4, 6].flatMap((id) => [...table.slice(id * 8, (id + 1) * 8)].map(Number));
  const { values } = startStore(adapter, { model, weights });
  t.deepEqual([...(values.get("embedding")?.data ?? [])].map(Number), rows);
});

test("--prompt_init_text needs prompt tuning and a tokenizer", async (t) => {
  const { model } = await loadTinyBase();
  const settings = { ...defaultAdapterSettings, promptInitText: "x" };
  const messageOf = (peftType: PeftType) =>
    t.throws(() => buildAdapter(peftType, model, settings, new Set()), { instanceOf: UserError })
      .message;
  t.regex(messageOf("p-tuning"), /found --peft_type p-tuning, expected prompt-tuning$/);
  t.regex(messageOf("prompt-tuning"), /found no tokenizer in the model folder/);
});

for (const [peftType, settings, expected] of [
  ["lora", { rank: 5 }, /k_proj \[4, 8\].*expected a rank from 1 to the smaller side$/],
  ["mora", { rank: 7 }, /sqrt\(\(in \+ out\) \* rank\) is at most in$/],
  ["hilora", { additiveRank: 5 }, /k_proj \[4, 8\].*--r_lora \(5\) from 1 to the smaller side$/],
] as const) {
  test(`a rank that does not fit names the layers: ${peftType}`, async (t) => {
    const error = await t.throwsAsync(open({ peftType, settings }), { instanceOf: UserError });
    t.regex(error.message, expected);
  });
}

test("every method is tested here, or is full fine-tuning", (t) => {
  const tested = Object.values({ ...linear, ...virtual }).map(({ peftType }) => peftType);
  t.deepEqual([...new Set([...tested, "fft"])].sort(), Object.keys(peftMethods).sort());
});
