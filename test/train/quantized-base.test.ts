import { cpuPlan } from "../../src/runtime/compute-plan.js";
import type { LinearMethod } from "../../src/peft/method.js";
import type { MethodOptions } from "../../src/peft/registry.js";
import test from "ava";
import { mergeAdapter } from "../../src/decode/merge-adapter.js";
import { loadModelFolder } from "../../src/models/model-folder.js";
import {
  openFrozenWeights,
  replaceWeights,
  type FrozenWeights,
} from "../../src/models/weights/frozen-weights.js";
import type { Packing } from "../../src/models/weights/packed-weight.js";
import { createLinearAdapter } from "../../src/peft/adapter.js";
import { dora } from "../../src/peft/dora.js";
import { hira } from "../../src/peft/hira.js";
import { lora } from "../../src/peft/lora.js";
import { selectTargets } from "../../src/peft/targets.js";
import { Tensor } from "../../src/runtime/tensor.js";
import { buildLossGraph } from "../../src/train/loss-graph.js";
import { LossSession } from "../../src/train/loss-session.js";
import { drawnStore, largestDifference } from "../support/adapted-model.js";
import { peftFixture } from "../support/adapter-base.js";
import { randomBatch } from "../support/random-llama.js";
import { countOps } from "../support/run-graph.js";

const folder = await loadModelFolder(peftFixture("base"));
const { model } = folder;
const modules = model.linears;
const packedNames = new Set(modules.map(({ path }) => `${path}.weight`));

const openPacked = (packing: Packing): Promise<FrozenWeights> =>
  openFrozenWeights(folder.weights, { storage: "stored", pack: { packing, names: packedNames } });

/** The same numbers as float32 tensors. */
const unpacked = (weights: FrozenWeights): FrozenWeights =>
  replaceWeights(weights, new Map([...packedNames].map((name) => [name, weights.tensor(name)])));

const packings: Readonly<Record<string, Packing>> = {
  int8: { kind: "int8" },
  nf4: { kind: "4bit", type: "nf4", doubleQuant: true },
  fp4: { kind: "4bit", type: "fp4", doubleQuant: false },
};

for (const [name, packing] of Object.entries(packings))
  for (const method of [lora, dora, hira] as readonly LinearMethod<MethodOptions>[])
    test(`loss and gradients of ${method.name} on packed weights are those on the unpacked ones: ${name}`, async (t) => {
      const packed = await openPacked(packing);
      // Half of the layers are targets; the gradient passes through the others.
      const targets = selectTargets(modules, "q_proj,v_proj,up_proj");
      const adapter = createLinearAdapter(method, { rank: 2, alpha: 3 }, targets);
      const batch = randomBatch(
        [
          { length: 6, context: 2, left: 0, right: 1 },
          { length: 7, context: 3, left: 0, right: 0 },
        ],
        model.vocabSize,
      );
      const measure = async (weights: FrozenWeights, recomputeLayers: boolean) => {
        const store = drawnStore(adapter, { model, weights });
        const session = await LossSession.create(
          { model, adapter, maxPositions: 16, chunks: 1, gradients: true, recomputeLayers },
          weights,
          store,
          cpuPlan(1),
        );
        const { loss } = await session.run(batch, 1);
        session.dispose();
        return { loss, gradients: store.gradients };
      };
      const expected = await measure(unpacked(packed), false);
      for (const recomputeLayers of [false, true]) {
        const found = await measure(packed, recomputeLayers);
        t.true(Math.abs(found.loss / expected.loss - 1) < 1e-6);
        for (const [parameter, { data }] of expected.gradients) {
          const gradient = found.gradients.get(parameter)?.data as Float32Array;
          const scale = largestDifference(data as Float32Array, new Float32Array(data.length));
          t.true(scale > 1e-5, parameter);
          t.true(largestDifference(gradient, data as Float32Array) < 1e-5 * scale, parameter);
        }
      }
    });

test("a loss graph unpacks every weight for forward, and again for the backward work that reads it", async (t) => {
  const weights = await openPacked(packings.nf4 as Packing);
  const adapter = createLinearAdapter(
    lora,
    { rank: 2 },
    selectTargets(modules, "q_proj,down_proj"),
  );
  const graph = buildLossGraph({
    model,
    typeOf: (name) => weights.typeOf(name),
    adapter,
    maxPositions: 8,
    chunks: 1,
    gradients: true,
    recomputeLayers: false,
  });
  const lookups = (backward: boolean) =>
    countOps(graph, (node) => node.backward === backward).GatherElements ?? 0;
  // A weight is three look-ups: high codes, low codes, absmax. The first layer's q, k and v projections read the embedding,
  // which takes no gradient.
  t.is(lookups(false), 3 * modules.length);
  t.is(lookups(true), 3 * (modules.length - 3));
});

test("mergeAdapter merges into the unpacked weights, and leaves the packed ones as they are", async (t) => {
  const packed = await openPacked(packings.nf4 as Packing);
  const adapter = createLinearAdapter(
    hira,
    { rank: 2 },
    selectTargets(modules, "q_proj,down_proj"),
  );
  const { values } = drawnStore(adapter, { model, weights: packed });
  const merged = await mergeAdapter(packed, adapter, values);
  const expected = await mergeAdapter(unpacked(packed), adapter, values);
  for (const name of packedNames)
    t.deepEqual(merged.tensor(name).data, expected.tensor(name).data, name);
  const target = "model.layers.0.self_attn.q_proj.weight";
  t.is(merged.typeOf(target).codec, undefined);
  t.not(packed.typeOf(target).codec, undefined);
  t.true(merged.tensor(target) instanceof Tensor);
});

test("openFrozenWeights packs the linear layers alone, and counts the bytes", async (t) => {
  const packed = await openPacked(packings.int8 as Packing);
  t.deepEqual(
    [...packed.names].filter((name) => packed.typeOf(name).codec !== undefined).sort(),
    [...packedNames].sort(),
  );
  const rows = modules.reduce((sum, { outFeatures }) => sum + outFeatures, 0);
  const elements = modules.reduce(
    (sum, { inFeatures, outFeatures }) => sum + inFeatures * outFeatures,
    0,
  );
  t.is(packed.ownedBytes, elements + 4 * rows);
  t.throws(() => packed.tensor("model.layers.9.mlp.up_proj.weight"), { instanceOf: RangeError });
  t.throws(() => packed.typeOf(`${[...packedNames][0] ?? ""}.int8`), { instanceOf: RangeError });
});
