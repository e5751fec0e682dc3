import { fileURLToPath } from "node:url";
import test from "ava";
import { narrowFloat32 } from "../../src/core/half.js";
import type { Precision } from "../../src/core/precision.js";
import { randomStream } from "../../src/core/random.js";
import { generate } from "../../src/decode/generate.js";
import { ModelEngine } from "../../src/decode/engine.js";
import { readyModel } from "../../src/decode/open-engine.js";
import { defaultDecodeSettings } from "../../src/decode/settings.js";
import { loadModelFolder } from "../../src/models/model-folder.js";
import {
  openFrozenWeights,
  replaceWeights,
  type FrozenWeights,
} from "../../src/models/weights/frozen-weights.js";
import { cpuPlan } from "../../src/runtime/compute-plan.js";
import type { Device } from "../../src/runtime/device.js";
import { cpuDevice } from "../../src/runtime/devices/cpu.js";
import { Tensor } from "../../src/runtime/tensor.js";
import { buildAdapter } from "../../src/peft/build-adapter.js";
import { defaultAdapterSettings } from "../support/adapter-settings.js";
import { drawnStore, loadTinyBase } from "../support/adapted-model.js";
import { ownMemoryDevice } from "../support/own-memory-device.js";

const tinyLlama = fileURLToPath(new URL("../fixtures/decode/tiny-llama", import.meta.url));

const settings = { ...defaultDecodeSettings, maxNewTokens: 24, eosIds: [2, 40, 41, 42], padId: 3 };

test("decoding moves ids and masks to a device and candidates back, whatever becomes of the cache", async (t) => {
  const { model, weights } = await loadModelFolder(tinyLlama);
  const frozen = await openFrozenWeights(weights, { storage: "float32" });
  const prompts = [3, 11, 1, 7].map((length, row) => {
    const stream = randomStream(4, "prompts", row);
    return { ids: Array.from({ length }, () => 8 + stream.integer(88)) };
  });
  const { device, copies } = ownMemoryDevice({ canSlice: false });
  const plan = { ...cpuPlan(1), device };
  const open = async (where: typeof plan) =>
    ModelEngine.create({ model, weights: frozen, maxPositions: 64, plan: where });
  const [own, cpu] = [await open(plan), await open(cpuPlan(1))];
  for (const numBeams of [1, 4]) {
    copies.reset();
    const options = { prompts, settings: { ...settings, numBeams }, batch: 4 };
    const found = await generate({ ...options, engine: own });
    t.deepEqual(found, await generate({ ...options, engine: cpu }));
    const names = (list: typeof copies.toHost) => [...new Set(list.map(({ what }) => what))].sort();
    t.deepEqual(names(copies.toHost), ["ids", "logProbs", "normalizers"]);
    const fed = ["index", "mask", "positions", "rows", "slots", "tokens", "width"];
    t.deepEqual(names(copies.toDevice), fed);
    // Candidates of 4 prompts; masks of 4 prompts, 4 beams and fewer than 100 slots.
    t.true(copies.toHost.every(({ elements }) => elements <= 4 * numBeams * 32));
    t.true(copies.toDevice.every(({ elements }) => elements <= 4 * 4 * 100));
  }
  own.dispose();
  cpu.dispose();
});

test("a device is given merged layers in fp16's bits, none in bf16, which would lose updates, and the file's 16 bits as they are", async (t) => {
  const base = await loadTinyBase();
  const settingsOf = { ...defaultAdapterSettings, targetModules: "q_proj,lm_head" };
  const adapter = buildAdapter("lora", base.model, settingsOf, new Set());
  const adapted = { adapter, values: drawnStore(adapter, base).values };
  const half = Tensor.fromArray("bfloat16", [8], new Uint16Array(8).fill(0x3f80));
  const weights = replaceWeights(base.weights, new Map([["model.norm.weight", half]]));
  const { device } = ownMemoryDevice({ canSlice: true });
  const ready = (place: Device, precision: Precision) => {
    const plan = { device: place, precision, threads: 1 };
    return readyModel({ ...base, weights, adapted, plan });
  };
  const [query, head, norm] = [
    "model.layers.0.self_attn.q_proj.weight",
    "lm_head.weight",
    "model.norm.weight",
  ];
  const types = ({ weights: of }: { readonly weights: FrozenWeights }) =>
    [query, head, norm].map((name) => of.typeOf(name).dtype);
  const [wide, narrow] = [await ready(device, "fp32"), await ready(device, "fp16")];
  t.deepEqual(types(wide), ["float32", "float32", "float32"]);
  t.deepEqual(types(narrow), ["float16", "float32", "bfloat16"]);
  const queryOf = ({ weights: of }: { readonly weights: FrozenWeights }) => of.tensor(query).data;
  t.deepEqual(queryOf(narrow), narrowFloat32(queryOf(wide) as Float32Array, "float16"));
  t.deepEqual([wide.live, narrow.live], [undefined, undefined]);
  for (const place of [device, cpuDevice])
    for (const precision of ["bf16", "mixed"] as const) {
      const computed = await ready(place, precision);
      t.is(computed.live, adapted);
      t.is(computed.spentBytes > 0, place === cpuDevice);
      t.deepEqual(types(computed), [
        "float32",
        "float32",
        place === device ? "bfloat16" : "float32",
      ]);
      t.deepEqual(queryOf(computed), base.weights.tensor(query).data);
    }
});

for (const precision of ["fp32", "fp16"] as const)
  test(`a device has the keys and values of a trained prefix in front of its prompts, in ${precision}`, async (t) => {
    const base = await loadTinyBase();
    const adapter = buildAdapter(
      "prefix",
      base.model,
      { ...defaultAdapterSettings, virtualTokens: 3 },
      new Set(),
    );
    const live = { adapter, values: drawnStore(adapter, base).values };
    const { device, copies } = ownMemoryDevice({ canSlice: false });
    const made = new Set<string>();
    const zeros: Device["zeros"] = (dtype, shape) => {
      made.add(dtype);
      return device.zeros(dtype, shape);
    };
    const options = {
      prompts: [[1, 5, 9], [4, 8], [7]].map((ids) => ({ ids })),
      settings: { ...settings, maxNewTokens: 6, numBeams: 2, eosIds: [] },
      batch: 3,
    };
    const found = [];
    for (const place of [cpuDevice, { ...device, zeros }]) {
      const plan = { device: place, precision, threads: 1 };
      const engine = await ModelEngine.create({ ...base, live, maxPositions: 26, plan });
      copies.reset();
      found.push(await generate({ ...options, engine }));
      engine.dispose();
    }
    t.deepEqual(found[1], found[0]);
    t.true(copies.toDevice.some(({ what }) => what === "upload"));
    // Keys and values have the 16 bits that products would round them to.
    t.deepEqual([...made], [precision === "fp32" ? "float32" : "float16"]);
  });
