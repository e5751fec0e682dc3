import test from "ava";
import type { Pruning } from "../../src/peft/pruning.js";
import { createLinearAdapter } from "../../src/peft/adapter.js";
import { loadModelFolder } from "../../src/models/model-folder.js";
import { lora } from "../../src/peft/lora.js";
import { defaultPruning, sparseLora } from "../../src/peft/sparse-lora.js";
import { selectTargets } from "../../src/peft/targets.js";
import { AdamW, defaultAdamW } from "../../src/train/adamw.js";
import { LossSession } from "../../src/train/loss-session.js";
import { clearGradients, type ParameterStore } from "../../src/train/parameters.js";
import { createSparsifier, sparsityAt, zeroCount } from "../../src/train/sparsity.js";
import { readTrainedWeights, writeTrainedWeights } from "../../src/train/trained-weights.js";
import { peftFixture } from "../support/adapter-base.js";
import { loadTinyBase, startStore } from "../support/adapted-model.js";
import { makeTempFolder } from "../support/temp-folder.js";

const TOTAL = 12;
const batch = {
  batch: 1,
  seq: 6,
  inputIds: BigInt64Array.from([1, 5, 9, 13, 2, 7], BigInt),
  attentionMask: new Uint8Array(6).fill(1),
  labels: Int32Array.from([1, 5, 9, 13, 2, 7]),
};

/** Trains (Sparse) LoRA on one batch; `after` looks on behind every update. */
const train = async (
  sparsity: Pruning | undefined,
  after: (step: number, store: ParameterStore) => void = () => undefined,
): Promise<ParameterStore> => {
  const base = await loadTinyBase();
  const { model, weights } = base;
  const targets = selectTargets(model.linears, "q_proj,down_proj");
  const adapter = sparsity
    ? createLinearAdapter(sparseLora, { rank: 3, sparsity }, targets)
    : createLinearAdapter(lora, { rank: 3 }, targets);
  const store = startStore(adapter, base);
  const session = await LossSession.create(
    { model, adapter, maxPositions: 6, chunks: 1, gradients: true, recomputeLayers: false },
    weights,
    store,
  );
  const optimizer = await AdamW.create(store, defaultAdamW);
  const sparsifier = sparsity && createSparsifier(sparsity, store, TOTAL);
  for (let step = 1; step <= TOTAL; step++) {
    clearGradients(store);
    await session.run(batch, 1 / 5);
    sparsifier?.prepareGradients();
    await optimizer.update(step, 0.01, 1);
    sparsifier?.afterUpdate(step);
    after(step, store);
  }
  session.dispose();
  optimizer.dispose();
  return store;
};

const zeros = (data: unknown, start = 0, end?: number): number =>
  Array.from((data as Float32Array).subarray(start, end)).filter((x) => x === 0).length;

test("Sparse LoRA at sparsity 0 is LoRA bit for bit", async (t) => {
  const [dense, sparse] = [await train(undefined), await train({ ...defaultPruning, sparsity: 0 })];
  for (const [name, { data }] of dense.values) t.deepEqual(sparse.values.get(name)?.data, data);
});

for (const method of ["magnitude", "topk", "l1"] as const) {
  for (const schedule of ["oneshot", "gradual"] as const) {
    test(`zeros are exact in every matrix and stay zero, moments too: ${method}, ${schedule}`, async (t) => {
      const settings = {
        ...defaultPruning,
        sparsity: 0.6,
        method,
        schedule,
        startStep: 3,
        endStep: 9,
      };
      const pruned = new Map<string, Uint8Array>();
      await train(settings, (step, store) => {
        for (const [name, { data, shape }] of store.values) {
          const [rows = 0, columns = 0] = shape;
          const count = zeroCount(sparsityAt(settings, step, TOTAL), rows * columns);
          t.is(zeros(data), count, `${name} after ${String(step)}`);
          const mask = store.masks.get(name) ?? new Uint8Array(rows * columns).fill(1);
          const before = pruned.get(name) ?? mask.slice();
          mask.forEach((alive, i) => {
            if (before[i] === 0) t.is(alive, 0);
            if (alive === 1) return;
            for (const tensors of [store.values, store.m, store.v])
              t.is((tensors.get(name)?.data as Float32Array)[i], 0);
          });
          pruned.set(name, mask.slice());
          if (method !== "topk") continue;
          for (let row = 0; row < rows; row++) {
            const ofRow = zeros(data, row * columns, (row + 1) * columns);
            t.true(Math.abs(ofRow - count / rows) < 1, `row ${String(row)} of ${name}`);
          }
        }
      });
    });
  }
}

test("sparsity follows the cubic between its two steps", (t) => {
  const settings = { ...defaultPruning, sparsity: 0.8, startStep: 10, endStep: 20 };
  const at = (step: number) => sparsityAt(settings, step, 100);
  t.deepEqual([at(9), at(10), at(20), at(50)], [0, 0, 0.8, 0.8]);
  t.true(Math.abs(at(15) - 0.8 * (1 - 0.125)) < 1e-12);
  t.is(sparsityAt({ ...settings, schedule: "oneshot" }, 10, 100), 0.8);
  const open = { ...settings, startStep: undefined, endStep: undefined };
  t.deepEqual(
    [19, 80].map((step) => sparsityAt(open, step, 100)),
    [0, 0.8],
  );
});

test("the smallest elements go", async (t) => {
  const settings = { ...defaultPruning, schedule: "oneshot", startStep: TOTAL } as const;
  const [dense, sparse] = [await train(undefined), await train(settings)];
  for (const [name, { data }] of dense.values) {
    const before = Array.from(data as Float32Array, Math.abs);
    const after = sparse.values.get(name)?.data as Float32Array;
    const gone = before.filter((_, i) => after[i] === 0);
    const kept = before.filter((_, i) => after[i] !== 0);
    t.true(Math.max(...gone) <= Math.min(...kept));
  }
});

test("masks survive saving and loading", async (t) => {
  const { model } = await loadTinyBase();
  const store = await train({ ...defaultPruning, startStep: 2, endStep: 4 });
  const adapter = createLinearAdapter(
    sparseLora,
    { rank: 3, sparsity: defaultPruning },
    selectTargets(model.linears, "q_proj,down_proj"),
  );
  const base = { folder: await loadModelFolder(peftFixture("base")) };
  const folder = await makeTempFolder(t);
  await writeTrainedWeights(folder, base, adapter, store);
  const other = startStore(adapter, await loadTinyBase());
  await readTrainedWeights(folder, base, adapter, other);
  t.is(other.masks.size, store.values.size);
  t.deepEqual(other.masks, store.masks);
  for (const [name, { data }] of store.values) t.deepEqual(other.values.get(name)?.data, data);
});
