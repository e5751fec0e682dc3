/**
 * Times training steps (forward, backward, clipping, AdamW) of one model in this process, and prints one JSON line; with `serve`
 * one for every line that it is asked for, see serve.ts.
 *
 * usage: step-worker.ts OPTIONS_JSON, see WorkerOptions. step_peer.py beside it is the same program in PyTorch.
 */
import { openPlan, type ComputeChoice } from "../../src/runtime/compute-plan.js";
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
import { ownCpuMs, serveSamples } from "./serve.js";

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
  /** Ours: where it computes, and in what; default: the CPU in float32. */
  readonly choice?: ComputeChoice;
  readonly serve?: boolean;
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
const plan = await openPlan({ ...options.choice, threads: options.threads });
const store = createParameterStore(adapter, 1, () => undefined, { device: plan.device });
const session = await LossSession.create(
  {
    model: model.model,
    adapter,
    maxPositions: Math.max(...all.map(({ seq }) => seq)),
    maxRows: Math.max(...all.map(({ batch }) => batch)),
    chunks: chunkCount(Math.max(...all.map((batch) => causalLm.labelled(batch).rows.length))),
    gradients: true,
    recomputeLayers: options.checkpointing,
  },
  weights,
  store,
  plan,
);
const optimizer = await AdamW.create(store, defaultAdamW, plan);

let updates = 0;
/** An update on a line's batches: its loss. */
const update = async (line: number): Promise<number> => {
  const batches = steps[line] ?? [];
  const labels = batches.reduce((sum, batch) => sum + causalLm.labelled(batch).rows.length, 0);
  clearGradients(store);
  let loss = 0;
  for (const batch of batches) loss += (await session.run(batch, 1 / labels)).loss;
  await optimizer.update(++updates, 1e-3, clipFactor(await optimizer.gradientNorm(), 1));
  return loss;
};
let firstLoss: number | undefined;
/** Milliseconds of each of the first `lines` lines. */
const measure = async (lines: number): Promise<readonly number[]> => {
  const milliseconds: number[] = [];
  for (let line = 0; line < Math.min(lines, steps.length); line++) {
    const begun = performance.now();
    const loss = await update(line);
    firstLoss ??= loss;
    milliseconds.push(performance.now() - begun);
  }
  return milliseconds;
};

for (let i = 0; i < options.warmup; i++) {
  const loss = await update(i % steps.length);
  firstLoss ??= loss;
}
const version = `onnxruntime ${runtimeVersion()}`;
if (options.serve === true) await serveSamples({ firstLoss: firstLoss ?? null, version }, measure);
else {
  const milliseconds = await measure(steps.length);
  const result: WorkerResult = {
    milliseconds,
    peakBytes: peakMemoryBytes(),
    cpuMs: ownCpuMs(),
    firstLoss: firstLoss ?? NaN,
    version,
  };
  console.log(JSON.stringify(result));
}
plan.device.dispose();
