import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import { UserError } from "../../src/core/errors.js";
import { mergeAdapter } from "../../src/decode/merge-adapter.js";
import { openMergedLayers } from "../../src/decode/merged-layers.js";
import type { Graph } from "../../src/graph/graph.js";
import { keepThreshold } from "../../src/models/blocks/dropout.js";
import { loadModelFolder, parseConfig } from "../../src/models/model-folder.js";
import { float32Tensors, openFrozenWeights } from "../../src/models/weights/frozen-weights.js";
import { packedCodec, packWeight, type Packing } from "../../src/models/weights/packed-weight.js";
import {
  readTensorAsFloat32,
  writeSafetensors,
  type TensorToWrite,
} from "../../src/models/weights/safetensors.js";
import { turnMatrix } from "../../src/models/weights/turned-codec.js";
import { createFullAdapter, createLinearAdapter } from "../../src/peft/adapter.js";
import { fft } from "../../src/peft/fft.js";
import { hira } from "../../src/peft/hira.js";
import { lora } from "../../src/peft/lora.js";
import { selectTargets } from "../../src/peft/targets.js";
import { packingPlan } from "../../src/train/load-base.js";
import { buildLossGraph } from "../../src/train/loss-graph.js";
import { peftFixture } from "../support/adapter-base.js";
import { drawnStore, largestDifference, logitsOf } from "../support/adapted-model.js";
import { countOps } from "../support/run-graph.js";
import { makeTempFolder } from "../support/temp-folder.js";

const folder = await loadModelFolder(peftFixture("base-conv"));
const { model } = folder;
const weights = await openFrozenWeights(folder.weights, { storage: "stored" });
const ids = [1, 5, 9, 13, 2, 7];

const storages = {
  8: { kind: "int8" },
  4: { kind: "4bit", type: "nf4", doubleQuant: true },
} as const satisfies Record<number, Packing>;

for (const [loadBit, packing] of Object.entries(storages))
  test(`--load_bit=${loadBit} packs layers stored [in, out] as [out, in], which is how bitsandbytes sees them`, async (t) => {
    const storage = { loadBit: Number(loadBit), quantType: "nf4", doubleQuant: true } as const;
    const pack = packingPlan(folder, storage);
    if (!pack) return t.fail("nothing is packed");
    const packed = await openFrozenWeights(folder.weights, { storage: "stored", pack });
    for (const { path, inFeatures, outFeatures } of model.linears) {
      const name = `${path}.weight`;
      const shape = [outFeatures, inFeatures];
      const data = turnMatrix(float32Tensors(weights)(name), [inFeatures, outFeatures]);
      const parts = packWeight(name, shape, data, packing).map((part) => part.data);
      const expected = turnMatrix(packedCodec(packing).unpack(parts, shape), shape);
      t.deepEqual(packed.tensor(name).data, expected, name);
    }
    // The graph decodes what the numbers above are.
    const adapter = createLinearAdapter(hira, { rank: 2 }, selectTargets(model.linears, "c_attn"));
    const { values } = drawnStore(adapter, { model, weights: packed });
    const found = await logitsOf({ model, weights: packed }, ids, { adapter, values });
    const merged = await mergeAdapter(packed, adapter, values);
    t.true(largestDifference(found, await logitsOf({ model, weights: merged }, ids)) < 1e-4);
  });

test("a layer stored [in, out] is multiplied as it lies: no graph of the plain model, LoRA, HiRA or full fine-tuning turns a weight", (t) => {
  const targets = selectTargets(model.linears, "c_attn,c_proj");
  const adapters = {
    lora: createLinearAdapter(lora, { rank: 2 }, targets),
    hira: createLinearAdapter(hira, { rank: 2 }, targets),
    fft: createFullAdapter(fft, model.tensors),
  };
  const turned = (graph: Graph): number =>
    countOps(graph, ({ inputs }) => inputs[0]?.shape.length === 2).Transpose ?? 0;
  for (const adapter of [undefined, ...Object.values(adapters)]) {
    const graph = buildLossGraph({
      ...{ model, adapter, maxPositions: 8, chunks: 1, recomputeLayers: false },
      typeOf: (name) => weights.typeOf(name),
      gradients: adapter !== undefined,
    });
    t.is(turned(graph), 0);
  }
});

test("merged layers are [out, in] for formulas, and as the file has them for what is stored", async (t) => {
  const [module] = selectTargets(model.linears, "h.0.mlp.c_proj");
  if (!module) return t.fail("no such layer");
  const adapter = createLinearAdapter(lora, { rank: 2, alpha: 2 }, [module]);
  const { values } = drawnStore(adapter, { model, weights });
  const layers = openMergedLayers(
    weights,
    { adapter, values },
    {
      method: lora,
      dtype: "float64",
      outputs: (g, { weight, merged, stored }) => {
        g.output("update", g.sub(merged, weight));
        g.output("stored", stored);
      },
    },
  );
  const { update, stored } = await layers.run(module);
  layers.dispose();
  const numbers = (name: string): Float32Array =>
    values.get(`${module.path}.${name}`)?.data as Float32Array;
  const [a, b] = [numbers("A"), numbers("B")];
  const { inFeatures, outFeatures } = module;
  const base = float32Tensors(weights)(`${module.path}.weight`);
  t.deepEqual(update?.shape, [outFeatures, inFeatures]);
  t.deepEqual(stored?.shape, [inFeatures, outFeatures]);
  for (let o = 0; o < outFeatures; o++)
    for (let i = 0; i < inFeatures; i++) {
      const change = [0, 1].reduce(
        (sum, r) => sum + (b[2 * o + r] ?? NaN) * (a[r * inFeatures + i] ?? NaN),
        0,
      );
      t.true(Math.abs(Number(update?.data[o * inFeatures + i]) - change) < 1e-12);
      const whole = (base[i * outFeatures + o] ?? NaN) + change;
      t.true(Math.abs(Number(stored?.data[i * outFeatures + o]) - whole) < 1e-12);
    }
});

test("the Hub's files of GPT-2, with bare names and attention's masks, are its model", async (t) => {
  const path = join(await makeTempFolder(t), "gpt2");
  await mkdir(path);
  const { rawConfig } = folder;
  await writeFile(join(path, "config.json"), JSON.stringify(rawConfig));
  const tensors: TensorToWrite[] = [];
  for (const [name, entry] of folder.weights)
    tensors.push({
      ...{ name: name.replace("transformer.", ""), dtype: "float32", shape: entry.shape },
      data: await readTensorAsFloat32(entry),
    });
  const mask = { dtype: "uint8", shape: [1, 1, 2, 2], data: Uint8Array.of(1, 0, 1, 1) } as const;
  const scalar = { dtype: "float32", shape: [], data: Float32Array.of(-1e4) } as const;
  await writeSafetensors(join(path, "model.safetensors"), [
    ...tensors,
    { name: "h.0.attn.bias", ...mask },
    { name: "h.1.attn.masked_bias", ...scalar },
  ]);
  const bare = await loadModelFolder(path);
  t.deepEqual([...bare.weights.keys()].sort(), [...model.tensors.keys()].sort());
  const opened = await openFrozenWeights(bare.weights, { storage: "stored" });
  t.deepEqual(
    await logitsOf({ model: bare.model, weights: opened }, ids),
    await logitsOf({ model, weights }, ids),
  );
});

test("a config of GPT-2 that cannot be computed is refused with all of its faults", (t) => {
  const { message } = t.throws(
    () =>
      parseConfig(
        {
          ...{ model_type: "gpt2", n_embd: 10, n_head: 4, add_cross_attention: true },
          ...{ activation_function: "mish", attn_pdrop: 1 },
        },
        "config.json",
      ),
    { instanceOf: UserError },
  );
  t.regex(message, /found 4 faults/);
  t.regex(message, /"n_embd": found 10, expected a multiple of n_head \(4\)/);
  t.regex(message, /"add_cross_attention": found true, expected false/);
  t.regex(message, /"activation_function": found "mish", expected one of gelu, gelu_new, /);
  t.regex(message, /"attn_pdrop": found 1, expected a number from 0 to below 1/);
});

test("rows longer than GPT-2's learned positions are refused", async (t) => {
  const error = await t.throwsAsync(
    logitsOf(
      { model, weights },
      Array.from({ length: 25 }, () => 4),
    ),
    { instanceOf: UserError },
  );
  t.regex(error.message, /rows of up to 25 tokens: found a model with 24 learned positions/);
});

test("embeddings and blocks of GPT-2 drop at rates of their own, and --model_dropout takes the place of both", (t) => {
  const masks = (rates: Record<string, number>, modelDropout?: number): readonly number[] => {
    const dropping = parseConfig({ ...folder.rawConfig, attn_pdrop: 0, ...rates }, "config.json");
    const graph = buildLossGraph({
      ...{ model: dropping, adapter: undefined, maxPositions: 6, chunks: 1, modelDropout },
      ...{ gradients: false, recomputeLayers: false, drops: true },
      typeOf: (name) => weights.typeOf(name),
    });
    // Of a mask, the product of row and column is compared with the threshold of its rate.
    const compared = graph.nodes.filter(({ op }) => op.opType === "LessOrEqual");
    const thresholds = compared.map(({ inputs }) => inputs[1]?.id ?? -1);
    return thresholds
      .map((id) => graph.constants.get(id)?.data)
      .filter((data) => data instanceof Int32Array)
      .map((data) => data[0] ?? NaN);
  };
  const [low, high] = [keepThreshold(0.1), keepThreshold(0.3)];
  t.deepEqual(masks({ embd_pdrop: 0.1, resid_pdrop: 0.3 }), [low, high, high, high, high]);
  t.deepEqual(masks({ embd_pdrop: 0.1, resid_pdrop: 0 }), [low]);
  t.deepEqual(masks({ embd_pdrop: 0, resid_pdrop: 0.1 }), [low, low, low, low]);
  t.deepEqual(masks({ embd_pdrop: 0.1, resid_pdrop: 0 }, 0.3), [high, high, high, high, high]);
  t.deepEqual(masks({ embd_pdrop: 0.1, resid_pdrop: 0.1 }, 0), []);
});
