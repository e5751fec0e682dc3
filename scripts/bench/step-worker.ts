/**
 * Times HiRA training steps (forward, backward, clipping, AdamW) of one model in this process, and prints one JSON line.
 *
 * usage: step-worker.ts MODEL_DIR OPTIONS_JSON
 * options: batch, columns, targets (labelled columns at the end of each row), steps, warmup, rank, checkpointing, storage
 */
import { randomStream } from "../../src/core/random.js";
import { llamaLinearModules } from "../../src/models/llama.js";
import { loadModelFolder } from "../../src/models/model-folder.js";
import { openFrozenWeights } from "../../src/models/weights/frozen-weights.js";
import { createLinearAdapter } from "../../src/peft/adapter.js";
import { hira } from "../../src/peft/hira.js";
import { kaimingUniform, zeros } from "../../src/peft/init.js";
import { selectTargets } from "../../src/peft/targets.js";
import { peakMemoryBytes } from "../../src/runtime/memory.js";
import { AdamW, clipFactor } from "../../src/train/adamw.js";
import { chunkCount, LossSession, type TokenBatch } from "../../src/train/loss-session.js";
import { clearGradients, createParameterStore } from "../../src/train/parameters.js";

interface Options {
  readonly batch: number;
  readonly columns: number;
  readonly targets: number;
  readonly steps: number;
  readonly warmup: number;
  readonly rank: number;
  readonly checkpointing: boolean;
  readonly storage: "stored" | "float32";
}

const [path = "", text = "{}"] = process.argv.slice(2);
const options: Options = {
  batch: 8,
  columns: 128,
  targets: 8,
  steps: 5,
  warmup: 2,
  rank: 32,
  checkpointing: false,
  storage: "stored",
  ...(JSON.parse(text) as Partial<Options>),
};

const model = await loadModelFolder(path);
const weights = await openFrozenWeights(model.weights, { storage: options.storage });
const adapter = createLinearAdapter(
  hira,
  {
    rank: options.rank,
    initA: kaimingUniform,
    initB: zeros,
    trainA: true,
    trainB: true,
    randomR: false,
    biasTwice: false,
  },
  selectTargets(llamaLinearModules(model.config), "q_proj,k_proj,v_proj,up_proj,down_proj"),
);
const store = createParameterStore(adapter, 1, () => undefined);
const session = await LossSession.create(
  {
    config: model.config,
    adapter,
    maxPositions: options.columns,
    chunks: chunkCount(options.batch * options.targets),
    gradients: true,
    recomputeLayers: options.checkpointing,
  },
  weights,
  store,
);
const optimizer = await AdamW.create(store, {
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-8,
  weightDecay: 0.01,
});

/** Random tokens; the last `targets` columns of each row are labelled. */
const makeBatch = (step: number): TokenBatch & { readonly labelled: number } => {
  const { batch, columns, targets } = options;
  const stream = randomStream(7, "bench", step);
  const ids = Array.from({ length: batch * columns }, () => stream.integer(model.config.vocabSize));
  const labelled = (i: number) => i % columns >= columns - targets && i % columns > 0;
  return {
    batch,
    seq: columns,
    inputIds: BigInt64Array.from(ids, BigInt),
    attentionMask: new Uint8Array(ids.length).fill(1),
    labels: Int32Array.from(ids, (id, i) => (labelled(i) ? id : -100)),
    labelled: ids.filter((_, i) => labelled(i)).length,
  };
};

const milliseconds: number[] = [];
let loss = NaN;
for (let step = 0; step < options.warmup + options.steps; step++) {
  const batch = makeBatch(step);
  const begun = performance.now();
  clearGradients(store);
  ({ loss } = await session.run(batch, 1 / batch.labelled));
  await optimizer.update(step + 1, 1e-3, clipFactor(await optimizer.gradientNorm(), 1));
  if (step >= options.warmup) milliseconds.push(performance.now() - begun);
}
console.log(JSON.stringify({ milliseconds, peakBytes: peakMemoryBytes(), loss }));
