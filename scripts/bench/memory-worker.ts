/**
 * Opens the frozen weights of a model, measures what they take, trains one step of LoRA on them, and prints one JSON line.
 *
 * usage: memory-worker.ts OPTIONS_JSON, see MemoryOptions.
 */
import { bytesOf } from "../../src/models/weights/frozen-weights.js";
import { createLinearAdapter } from "../../src/peft/adapter.js";
import { lora } from "../../src/peft/lora.js";
import { selectTargets } from "../../src/peft/targets.js";
import { currentMemoryBytes, peakMemoryBytes } from "../../src/runtime/memory.js";
import { AdamW, defaultAdamW } from "../../src/train/adamw.js";
import { loadBase, type BaseStorage } from "../../src/train/load-base.js";
import { LossSession } from "../../src/train/loss-session.js";
import { createParameterStore } from "../../src/train/parameters.js";

export interface MemoryOptions extends BaseStorage {
  readonly model: string;
  readonly batch: number;
  readonly columns: number;
  readonly steps: number;
}

export interface MemoryResult {
  /** Bytes that hold the linear layers' weights, and all weights. */
  readonly linearBytes: number;
  readonly modelBytes: number;
  /** Physical memory that opening the weights and touching each of their pages added. */
  readonly residentBytes: number;
  /** Physical memory at most, training included. */
  readonly peakBytes: number;
  /** Of the fastest step. */
  readonly stepMs: number;
}

const options = JSON.parse(process.argv[2] ?? "{}") as MemoryOptions;
const collect = (): number => {
  globalThis.gc?.();
  return currentMemoryBytes();
};

const before = collect();
const { folder, weights } = await loadBase(
  options.model,
  { ...options, tokenizer: "optional" },
  {
    line: console.error,
    warn: console.error,
    decoding: () => ({ advance: () => undefined, done: () => undefined }),
  },
);
const modules = folder.model.linears;
const linear = new Set(modules.map(({ path }) => `${path}.weight`));
let [linearBytes, modelBytes, touched] = [0, 0, 0];
for (const name of weights.names) {
  const type = weights.typeOf(name);
  const parts = type.codec
    ? type.codec.parts(type.shape).map(({ suffix }) => `${name}${suffix}`)
    : [name];
  for (const part of parts) {
    const tensor = weights.tensor(part);
    const bytes = bytesOf(tensor);
    modelBytes += bytes;
    if (linear.has(name)) linearBytes += bytes;
    for (let i = 0; i < tensor.data.length; i += 1024) touched += Number(tensor.data[i]);
  }
}
const residentBytes = collect() - before;

const adapter = createLinearAdapter(lora, { rank: 32 }, selectTargets(modules, "q_proj,v_proj"));
const store = createParameterStore(adapter, 1, () => undefined);
const { batch, columns, steps } = options;
const session = await LossSession.create(
  {
    model: folder.model,
    adapter,
    maxPositions: columns,
    chunks: 1,
    gradients: true,
    recomputeLayers: false,
  },
  weights,
  store,
);
const optimizer = await AdamW.create(store, defaultAdamW);
const count = batch * columns;
let stepMs = Infinity;
for (let step = 1; step <= steps; step++) {
  const begun = performance.now();
  await session.run(
    {
      batch,
      seq: columns,
      inputIds: BigInt64Array.from({ length: count }, (_, i) => BigInt(i % folder.model.vocabSize)),
      attentionMask: new Uint8Array(count).fill(1),
      labels: new Int32Array(count).map((_, i) => (i % columns < columns - 8 ? -100 : 1)),
    },
    1,
  );
  await optimizer.update(step, 1e-4, 1);
  stepMs = Math.min(stepMs, performance.now() - begun);
}
const result: MemoryResult = {
  linearBytes,
  modelBytes,
  residentBytes,
  peakBytes: peakMemoryBytes(),
  stepMs: Number.isFinite(touched) ? stepMs : NaN,
};
console.log(JSON.stringify(result));
