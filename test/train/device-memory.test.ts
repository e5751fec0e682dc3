import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { randomStream } from "../../src/core/random.js";
import { loadModelFolder } from "../../src/models/model-folder.js";
import { openFrozenWeights } from "../../src/models/weights/frozen-weights.js";
import { createFullAdapter, createLinearAdapter, type Adapter } from "../../src/peft/adapter.js";
import { fft } from "../../src/peft/fft.js";
import { hira } from "../../src/peft/hira.js";
import { normal } from "../../src/peft/init.js";
import { defaultPruning, sparseLora } from "../../src/peft/sparse-lora.js";
import { selectTargets } from "../../src/peft/targets.js";
import { cpuPlan, type ComputePlan } from "../../src/runtime/compute-plan.js";
import { cpuDevice } from "../../src/runtime/devices/cpu.js";
import { readCheckpoint, type Checkpoint } from "../../src/train/checkpoint.js";
import { LossSession } from "../../src/train/loss-session.js";
import { momentAllocator } from "../../src/train/optimizer.js";
import {
  clearGradients,
  createParameterStore,
  settleGradients,
  valuesOnHost,
  type ParameterStore,
} from "../../src/train/parameters.js";
import { trainAdapter } from "../../src/train/train-adapter.js";
import { readTrainedWeights, writeTrainedWeights } from "../../src/train/trained-weights.js";
import type { TrainingSettings } from "../../src/train/training-settings.js";
import { largestDifference } from "../support/adapted-model.js";
import { peftFixture } from "../support/adapter-base.js";
import { makeRunFolder } from "../support/checkpoints.js";
import { ownMemoryDevice, type Copies, type Copy } from "../support/own-memory-device.js";

const settings: TrainingSettings = {
  ...{ batch: 2, gradAcc: 3, epoch: 1, maxSteps: 4, lr: 0.05, warmup: 0, weightDecay: 0.1 },
  ...{ optimizer: "adamw_torch", maxGradNorm: 0.5, seed: 3, shuffle: true, enableGradCkpt: false },
  ...{ evalStrategy: "steps", evalSteps: 2, saveTotalLimit: 0, earlyStopPatience: 0 },
  compat: new Set(),
};

/** Of one length, so that all batches are alike. */
const rows = Array.from({ length: 14 }, (_, row) => {
  const stream = randomStream(row, "device memory");
  return { row, ids: Int32Array.from({ length: 6 }, () => stream.integer(16)), contextLength: 2 };
});
const data = {
  train: rows.slice(0, 12),
  validation: rows.slice(12),
  layout: { kind: "right-padded" },
  ...{ padId: 0, evaluationBatchDivisor: 1, warnings: [], choiceWarning: undefined },
  ...{ unknown: [], files: {}, longest: 6 },
} as const;

/** What crossed during each update, and how the run went. */
interface Trained {
  readonly store: ParameterStore;
  readonly losses: readonly number[];
  readonly norms: readonly number[];
  readonly updates: readonly { readonly toDevice: readonly Copy[]; readonly toHost: Copy[] }[];
}

const loadBase = () => loadModelFolder(peftFixture("base"));

const train = async (
  adapterOf: (model: Awaited<ReturnType<typeof loadBase>>["model"]) => Adapter,
  plan: ComputePlan,
  {
    runFolder,
    copies,
    resumeFrom,
  }: { runFolder?: string; copies?: Copies; resumeFrom?: Checkpoint } = {},
): Promise<Trained> => {
  const folder = await loadBase();
  const { model } = folder;
  const adapter = adapterOf(model);
  const weights = await openFrozenWeights(folder.weights, { storage: "stored" });
  const base = new Map(
    [...weights.names].map((name) => [name, weights.tensor(name).data as Float32Array]),
  );
  const { device } = plan;
  const store = createParameterStore(adapter, 1, ({ name }) => base.get(name), { device });
  const [losses, norms]: [number[], number[]] = [[], []];
  const updates: { toDevice: Copy[]; toHost: Copy[] }[] = [];
  copies?.reset();
  await trainAdapter({
    ...{ model, weights, adapter, store, data, settings, plan, runFolder, resumeFrom },
    writeWeights: (path) => writeTrainedWeights(path, { folder }, adapter, store),
    readWeights: (path) => readTrainedWeights(path, { folder }, adapter, store),
    events: {
      step({ loss, gradNorm }) {
        losses.push(loss);
        norms.push(gradNorm);
        if (copies) updates.push({ toDevice: [...copies.toDevice], toHost: [...copies.toHost] });
        copies?.reset();
        return Promise.resolve();
      },
      skipped: () => undefined,
      validating: () => undefined,
      evaluation() {
        copies?.reset();
        return Promise.resolve();
      },
      saving: () => Promise.resolve(),
    },
  });
  return { store, losses, norms, updates };
};

type ModelOf = Parameters<Parameters<typeof train>[0]>[0];

const hiraOn = (model: ModelOf): Adapter =>
  createLinearAdapter(
    hira,
    { rank: 2, initA: normal(0.4), initB: normal(0.4) },
    selectTargets(model.linears, "q_proj,down_proj"),
  );
const everything = (model: ModelOf): Adapter => createFullAdapter(fft, model.tensors);
const pruned =
  (method: "magnitude" | "l1") =>
  (model: ModelOf): Adapter =>
    createLinearAdapter(
      sparseLora,
      { rank: 3, sparsity: { ...defaultPruning, method, startStep: 1, endStep: 3 } },
      selectTargets(model.linears, "q_proj,down_proj"),
    );

const elementsOf = (
  { device }: ParameterStore,
  tensors: ParameterStore["values"],
): ReadonlyMap<string, Float32Array> =>
  new Map([...tensors].map(([name, tensor]) => [name, device.read(tensor) as Float32Array]));

/** All values and moments of both are the same but for rounding. */
const sameState = (t: ExecutionContext, a: ParameterStore, b: ParameterStore): void => {
  for (const part of ["values", "m", "v"] as const) {
    const other = elementsOf(b, b[part]);
    for (const [name, elements] of elementsOf(a, a[part]))
      t.true(largestDifference(elements, other.get(name) ?? []) < 2e-6, `${part} of ${name}`);
  }
};

for (const canSlice of [true, false])
  test(`an update moves ids and labels in and a few numbers out: ${canSlice ? "flat buffers" : "a buffer a parameter"}`, async (t) => {
    const { device, copies } = ownMemoryDevice({ canSlice });
    const plan = { ...cpuPlan(1), device };
    const own = await train(hiraOn, plan, { copies });
    const cpu = await train(hiraOn, cpuPlan(1));
    t.is(own.updates.length, 4);
    for (const { toDevice, toHost } of own.updates) {
      t.deepEqual(
        toHost.map(({ what, elements }) => [what, elements]),
        [["sum", 1], ...[1, 2, 3].map(() => ["read", 1])],
      );
      const fed = ["input_ids", "positions", "columns", "key_bias"];
      const labels = ["label_rows", "label_ids", "loss_scale"];
      const scalars = ["clip", "decay", "rate", "root"];
      t.deepEqual(
        toDevice.map(({ what }) => what).sort(),
        [...[1, 2, 3].flatMap(() => [...fed, ...labels]), ...scalars].sort(),
      );
      // Nothing of it is larger than a batch: 2 rows of 6 tokens.
      t.true(toDevice.every(({ elements }) => elements <= 12));
    }
    t.true(largestDifference(own.losses, cpu.losses) < 1e-6, String(own.losses));
    t.true(largestDifference(own.norms, cpu.norms) < 1e-6, String(own.norms));
    sameState(t, own.store, cpu.store);
  });

test("full fine-tuning, with parameters that decay and others, is on a device what it is on the CPU", async (t) => {
  for (const canSlice of [true, false]) {
    const plan = { ...cpuPlan(1), device: ownMemoryDevice({ canSlice }).device };
    const [own, cpu] = [await train(everything, plan), await train(everything, cpuPlan(1))];
    t.is(own.store.groups.length, canSlice ? 2 : own.store.parameters.length);
    t.is(own.store.trainableCount, cpu.store.trainableCount);
    t.true(largestDifference(own.losses, cpu.losses) < 1e-5);
    sameState(t, own.store, cpu.store);
  }
});

test("Sparse LoRA prunes in a device's memory what it prunes in the host's", async (t) => {
  for (const method of ["magnitude", "l1"] as const) {
    const { device } = ownMemoryDevice({ canSlice: false });
    const own = await train(pruned(method), { ...cpuPlan(1), device });
    const cpu = await train(pruned(method), cpuPlan(1));
    t.true(own.store.masks.size > 0);
    t.deepEqual(own.store.masks, cpu.store.masks);
    sameState(t, own.store, cpu.store);
    const values = elementsOf(own.store, own.store.values);
    for (const [name, mask] of own.store.masks)
      t.true(mask.every((alive, i) => alive === 1 || values.get(name)?.[i] === 0));
  }
});

test("a checkpoint saved from a device's memory goes on there to the same bits, and on the CPU", async (t) => {
  for (const adapter of [hiraOn, everything]) {
    const runFolder = await makeRunFolder(t);
    const plan = { ...cpuPlan(1), device: ownMemoryDevice({ canSlice: false }).device };
    const whole = await train(adapter, plan, { runFolder });
    const resumeFrom = await readCheckpoint(join(runFolder, "checkpoint-2"));
    const resumed = await train(adapter, plan, { resumeFrom });
    t.deepEqual(resumed.losses, whole.losses.slice(2));
    const elements = ({ store }: Trained) =>
      (["m", "v"] as const).map((part) => elementsOf(store, store[part]));
    t.deepEqual(elements(resumed), elements(whole));
    const onCpu = await train(adapter, cpuPlan(1), { resumeFrom });
    sameState(t, onCpu.store, resumed.store);
  }
});

test("valuesOnHost gives a device's parameters to what computes on the CPU", async (t) => {
  const { device } = ownMemoryDevice({ canSlice: true });
  const { store } = await train(hiraOn, { ...cpuPlan(1), device });
  const onHost = valuesOnHost(store);
  t.deepEqual(
    new Map([...onHost].map(([name, { data }]) => [name, data])),
    elementsOf(store, store.values),
  );
  t.throws(() => [...store.values.values()][0]?.data, { instanceOf: RangeError });
});

test("gradients that were cleared on a device are zero once somebody reads them, also where no micro-step has run", async (t) => {
  const { device, copies } = ownMemoryDevice({ canSlice: false });
  const { store } = await train(hiraOn, { ...cpuPlan(1), device });
  const gradients = () => [...elementsOf(store, store.gradients).values()];
  t.false(gradients().every((elements) => elements.every((x) => x === 0)));
  copies.reset();
  clearGradients(store);
  t.deepEqual(copies.toDevice, []);
  settleGradients(store);
  t.true(gradients().every((elements) => elements.every((x) => x === 0)));
});

test("a session refuses parameters in another device's memory", async (t) => {
  const { model, weights } = await loadBase();
  const adapter = hiraOn(model);
  const { device } = ownMemoryDevice({ canSlice: true });
  const store = createParameterStore(adapter, 1, () => undefined, { device });
  const options = { model, adapter, maxPositions: 6, chunks: 1, gradients: true };
  const frozen = await openFrozenWeights(weights, { storage: "stored" });
  await t.throwsAsync(
    LossSession.create({ ...options, recomputeLayers: false }, frozen, store, cpuPlan(1)),
    { message: /memory of "host": found parameters or gradients in that of "webgpu"/ },
  );
});

test("paged moments are refused on a device with memory of its own", (t) => {
  const { device } = ownMemoryDevice({ canSlice: true });
  t.throws(() => momentAllocator("paged_adamw_32bit", ".", device), {
    message: /Cannot use --optim=paged_adamw_32bit on --device=webgpu/,
  });
  t.notThrows(() => momentAllocator("paged_adamw_32bit", ".", cpuDevice));
});
