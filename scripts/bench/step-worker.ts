/**
 * Times training steps (forward, backward, clipping, AdamW) of one model in this process, and prints one JSON line.
 *
 * usage: step-worker.ts OPTIONS_JSON, see WorkerOptions. step_peer.py beside it is the same program in PyTorch.
 */
import { cpuPlan } from "../../src/runtime/compute-plan.js";
import { loadModelFolder } from "../../src/models/model-folder.js";
import { openFrozenWeights } from "../../src/models/weights/frozen-weights.js";
import { createLinearAdapter } from "../../src/peft/adapter.js";
import type { LinearMethod } from "../../src/peft/method.js";
import { peftMethods, type MethodOptions } from "../../src/peft/registry.js";
import { selectTargets } from "../../src/peft/targets.js";
import { peakMemoryBytes } from "../../src/runtime/memory.js";
import { runtimeVersion } from "../../src/runtime/ort/version.js";
import { AdamW, clipFactor, defaultAdamW } from "../../src/train/adamw.js";
import { chunkCount, LossSession } from "../../src/train/loss-session.js";
import { clearGradients, createParameterStore } from "../../src/train/parameters.js";
import { causalLm } from "../../src/train/tasks/causal-lm.js";
import { readSteps, restoreBatch } from "../reference/batch-file.js";
import type { BenchMethod } from "./methods.js";

/** What a worker is asked for, ours or PyTorch's. */
export interface WorkerOptions {
  readonly model: string;
  /** A train.jsonl; every line is timed once. */
  readonly batches: string;
  /** Steps before those that are timed, over the same lines. */
  readonly warmup: number;
  /** A --peft_type that changes linear layers; PyTorch has hira alone. */
  readonly method: BenchMethod;
  readonly rank: number;
  readonly targetModules: string;
  readonly threads: number;
  /** Gradient checkpointing. */
  readonly checkpointing: boolean;
  /** Ours: how frozen weights are held. */
  readonly storage: "stored" | "float32";
  /** PyTorch's: which attention, and at which positions the output head runs. */
  readonly attention: "eager" | "sdpa";
  readonly logits: "all" | "labelled";
}

/** What a worker prints. */
export interface WorkerResult {
  /** Of every line of the batches. */
  readonly milliseconds: readonly number[];
  readonly peakBytes: number;
  /** Processor time of the whole process. */
  readonly cpuMs: number;
  /** Of the first step: B is zero then, so that every contender must find the same. */
  readonly firstLoss: number;
  readonly version: string;
}

const options = JSON.parse(process.argv[2] ?? "{}") as WorkerOptions;
const steps = (await readSteps(options.batches)).map(({ batches }) => batches.map(restoreBatch));
const all = steps.flat();

const model = await loadModelFolder(options.model);
const weights = await openFrozenWeights(model.weights, { storage: options.storage });
const method: LinearMethod<MethodOptions> = peftMethods[options.method];
const adapter = createLinearAdapter(
  method,
  { rank: options.rank },
  selectTargets(model.model.linears, options.targetModules),
);
const store = createParameterStore(adapter, 1, () => undefined);
const { threads } = options;
const session = await LossSession.create(
  {
    model: model.model,
    adapter,
    maxPositions: Math.max(...all.map(({ seq }) => seq)),
    chunks: chunkCount(Math.max(...all.map((batch) => causalLm.labelled(batch).rows.length))),
    gradients: true,
    recomputeLayers: options.checkpointing,
  },
  weights,
  store,
  cpuPlan(threads),
);
const optimizer = await AdamW.create(store, defaultAdamW, cpuPlan(threads));

const milliseconds: number[] = [];
let firstLoss: number | undefined;
for (let i = 0; i < options.warmup + steps.length; i++) {
  const line = i < options.warmup ? i % steps.length : i - options.warmup;
  const batches = steps[line] ?? [];
  const begun = performance.now();
  const labels = batches.reduce((sum, batch) => sum + causalLm.labelled(batch).rows.length, 0);
  clearGradients(store);
  let loss = 0;
  for (const batch of batches) loss += (await session.run(batch, 1 / labels)).loss;
  await optimizer.update(i + 1, 1e-3, clipFactor(await optimizer.gradientNorm(), 1));
  if (i >= options.warmup) milliseconds.push(performance.now() - begun);
  firstLoss ??= loss;
}
const { user, system } = process.cpuUsage();
const result: WorkerResult = {
  milliseconds,
  peakBytes: peakMemoryBytes(),
  cpuMs: (user + system) / 1000,
  firstLoss: firstLoss ?? NaN,
  version: `onnxruntime ${runtimeVersion()}`,
};
console.log(JSON.stringify(result));
