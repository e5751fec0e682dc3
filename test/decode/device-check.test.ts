import test from "ava";
import type { Precision } from "../../src/core/precision.js";
import { checkDecoding, requireDecoding } from "../../src/decode/device-check.js";
import { ModelEngine } from "../../src/decode/engine.js";
import { softmax } from "../../src/graph/ops/softmax.js";
import { loadModelFolder } from "../../src/models/model-folder.js";
import { openFrozenWeights, type FrozenWeights } from "../../src/models/weights/frozen-weights.js";
import { buildAdapter } from "../../src/peft/build-adapter.js";
import type { ComputePlan } from "../../src/runtime/compute-plan.js";
import type { Device } from "../../src/runtime/device.js";
import { cpuDevice } from "../../src/runtime/devices/cpu.js";
import { logProbBound } from "../../src/train/device-bounds.js";
import { demoFolder } from "../../scripts/demo/paths.js";
import { defaultAdapterSettings } from "../support/adapter-settings.js";
import { drawnStore } from "../support/adapted-model.js";
import { halfDevice } from "../support/half-device.js";
import { lyingDevice } from "../support/lying-device.js";

/** The demo's model with HiRA in its graph, and what a device decodes of it, which may have other weights or another model. */
const prepare = async () => {
  const { model, weights: entries } = await loadModelFolder(demoFolder);
  const weights = await openFrozenWeights(entries, { storage: "stored" });
  const settings = { ...defaultAdapterSettings, rank: 4, targetModules: "q_proj,up_proj" };
  const adapter = buildAdapter("hira", model, settings, new Set());
  const live = { adapter, values: drawnStore(adapter, { model, weights }).values };
  const open = (plan: ComputePlan, change: Partial<Parameters<typeof ModelEngine.create>[0]>) =>
    ModelEngine.create({ model, weights, live, maxPositions: 32, plan, ...change });
  const check = async (
    device: Device,
    precision: Precision,
    change: Partial<Parameters<typeof ModelEngine.create>[0]> = {},
  ) => {
    const plan = { device, precision, threads: 1 };
    const { engine, found } = await checkDecoding(
      (reference) => open(reference, {}),
      (asked) => open(asked, change),
      plan,
    );
    engine.dispose();
    return { found, require: () => requireDecoding(found, plan) };
  };
  return { model, weights, check };
};

/** The weights of two layers in each other's place. */
const exchanged = (weights: FrozenWeights, a: number, b: number): FrozenWeights => {
  const other = (name: string): string =>
    name.replace(/layers\.(\d+)\./, (text, layer: string) => {
      if (Number(layer) === a) return `layers.${String(b)}.`;
      return Number(layer) === b ? `layers.${String(a)}.` : text;
    });
  return {
    ...weights,
    tensor: (name) => weights.tensor(other(name)),
    typeOf: (name) => weights.typeOf(other(name)),
  };
};

test("a device of 16 bits that is right is within its bound in decoding, with a margin of two at least", async (t) => {
  const { check } = await prepare();
  const forms = [
    ["mixed", halfDevice({ compute: "bfloat16", keep: "matmuls" })],
    ["bf16", halfDevice({ compute: "bfloat16", keep: "everything" })],
    ["fp16", halfDevice({ compute: "float16", keep: "everything" })],
  ] as const;
  for (const [precision, device] of forms) {
    const { found, require } = await check(device, precision);
    t.notThrows(require, precision);
    t.true(found.logProbError > 1e-5, `${precision} ${String(found.logProbError)}`);
    t.true(2 * found.logProbError < found.bound, `${precision} ${String(found.logProbError)}`);
  }
  const { found } = await check(cpuDevice, "fp32");
  t.is(found.logProbError, 0);
});

test("two layers that have changed places are found in decoding, in bf16 too", async (t) => {
  const { weights, model, check } = await prepare();
  const middle = model.layers >> 1;
  const change = { weights: exchanged(weights, middle - 1, middle) };
  for (const precision of ["fp32", "bf16"] as const) {
    const device = halfDevice({ compute: "bfloat16", keep: "matmuls" });
    const { require } = await check(device, precision, change);
    t.throws(require, { message: /log-probabilities of likely tokens .* of their spread away/ });
  }
});

test("a softmax of one layer that is wrong by a half is found in decoding in bf16", async (t) => {
  const { check } = await prepare();
  let seen = 0;
  const device = lyingDevice(({ op }) => op.opType === softmax.opType && seen++ % 4 === 1, 1.5);
  const { found, require } = await check(device, "bf16");
  t.throws(require, { message: /^Cannot trust the numbers of a lying device, --precision=bf16/ });
  t.true(found.logProbError > found.bound);
});

test("log-probabilities in 16 bits may be three times as far away as rounding moves the CPU's own, at most a fifth of their spread", (t) => {
  t.deepEqual(
    [0, 0.02, 0.05, 0.5].map((rounding) => logProbBound({ logProb: 0.12 }, rounding)),
    [0.12, 0.12, 3 * 0.05, 0.2],
  );
  t.is(logProbBound({ logProb: 1e-4 }), 1e-4);
});
