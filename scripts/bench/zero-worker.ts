/**
 * One of the processes that share the state of a training out: times its updates, and prints what all of them hold.
 *
 * usage: zero-worker.ts OPTIONS_JSON, in every process of an MPI launcher; process 0 prints ZeroResult of each, a JSON line.
 */
import { readFileSync } from "node:fs";
import { findProcesses } from "../../src/cli/processes.js";
import { loadModelFolder } from "../../src/models/model-folder.js";
import { float32Tensors, openFrozenWeights } from "../../src/models/weights/frozen-weights.js";
import { buildAdapter } from "../../src/peft/build-adapter.js";
import { cpuPlan } from "../../src/runtime/compute-plan.js";
import { AdamW, clipFactor, defaultAdamW } from "../../src/train/adamw.js";
import { LossSession, type MicroStep } from "../../src/train/loss-session.js";
import { clearGradients, createParameterStore } from "../../src/train/parameters.js";
import { createShardedStore } from "../../src/train/sharded-store.js";
import { randomSteps } from "./step-batches.js";
import { restoreBatch } from "../reference/batch-file.js";
import { defaultAdapterSettings } from "../../test/support/adapter-settings.js";

/** What a group of processes is asked for. */
export interface ZeroOptions {
  readonly model: string;
  readonly method: "fft" | "hira";
  readonly stage: 0 | 1 | 2 | 3;
  readonly overlaps: boolean;
  /** Of each process's micro-batch. */
  readonly batch: number;
  readonly columns: number;
  readonly steps: number;
  readonly threads: number;
}

/** What one process has found. */
export interface ZeroResult {
  /** Elements that train. */
  readonly trainable: number;
  /** Bytes of the process's own memory, files' pages not counted: after the last update, and at most while it ran. */
  readonly heldBytes: number;
  readonly peakBytes: number;
  /** Of the fastest update, and what it spent in messages, waiting included. */
  readonly stepMs: number;
  readonly messageMs: number;
  /** Bytes of the arrays that were sent around in it. */
  readonly messageBytes: number;
  readonly loss: number;
}

const options = JSON.parse(process.argv[2] ?? "{}") as ZeroOptions;
const { stage, columns } = options;
const processes = findProcesses(process.env);
const group = await processes.join();
const plan = cpuPlan(options.threads);

/** Memory of the process's own. */
const ownBytes = (): number =>
  1024 * Number(/^RssAnon:\s*(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? NaN);

const folder = await loadModelFolder(options.model);
const weights = await openFrozenWeights(folder.weights, { storage: "stored" });
const adapter = buildAdapter(options.method, folder.model, defaultAdapterSettings, new Set());
const base = float32Tensors(weights);
const store =
  stage === 0 || group.size === 1
    ? createParameterStore(adapter, 1, () => undefined, { base })
    : createShardedStore(
        adapter,
        { seed: 1, start: () => undefined, base },
        { stage, group, overlaps: options.overlaps, persistenceThreshold: 10_000 },
      );
const [stored] = randomSteps(
  { steps: 1, batch: options.batch, columns },
  Math.ceil(columns / 2),
  folder.model.vocabSize,
);
const [batch] = stored?.batches.map(restoreBatch) ?? [];
if (!batch) throw new Error("no batch");
const session = await LossSession.create(
  {
    ...{ model: folder.model, adapter, maxPositions: columns, maxRows: options.batch },
    ...{ chunks: 1, gradients: true, recomputeLayers: false },
  },
  weights,
  store,
  plan,
);
const optimizer = await AdamW.create(store, defaultAdamW, plan);
const labels = options.batch * Math.ceil(columns / 2) * group.size;
const micro: readonly MicroStep[] = [
  { batch, lossScale: 1 / labels, draw: { seed: 1, step: 0, microBatch: group.rank } },
];

globalThis.gc?.();
let peakBytes = 0;
const watch = setInterval(() => {
  peakBytes = Math.max(peakBytes, ownBytes());
}, 5);
let [stepMs, messageMs, messageBytes, loss] = [Infinity, NaN, NaN, NaN];
for (let step = 1; step <= options.steps; step++) {
  await group.barrier();
  const before = { ...group.traffic };
  const begun = performance.now();
  clearGradients(store);
  const readLoss = await session.accumulate(micro);
  if (store.shards) await store.shards.reduceGradients();
  else for (const { gradients } of store.groups) await group.sum(gradients.data as Float32Array);
  const clip = clipFactor(await optimizer.gradientNorm(store.shards), 1);
  await optimizer.update(step, 1e-4, clip);
  await store.shards?.gatherValues();
  loss = readLoss();
  const ms = performance.now() - begun;
  if (ms >= stepMs) continue;
  stepMs = ms;
  messageMs = group.traffic.milliseconds - before.milliseconds;
  messageBytes = group.traffic.bytes - before.bytes;
}
clearInterval(watch);
globalThis.gc?.();
const result: ZeroResult = {
  ...{ trainable: store.trainableCount, heldBytes: ownBytes(), peakBytes },
  ...{ stepMs, messageMs, messageBytes, loss },
};
const all = await group.gather(result);
if (group.rank === 0) process.stdout.write(`${JSON.stringify(all)}\n`);
await processes.leave(0);
process.exit(0);
