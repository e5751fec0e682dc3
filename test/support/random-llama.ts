import { cpuPlan } from "../../src/runtime/compute-plan.js";
import { elementCount } from "../../src/core/dtype.js";
import { randomStream } from "../../src/core/random.js";
import { decoderModel } from "../../src/models/blocks/decoder.js";
import type { DecoderConfig } from "../../src/models/blocks/decoder-config.js";
import type { Model } from "../../src/models/model.js";
import type { FrozenWeights } from "../../src/models/weights/frozen-weights.js";
import { createFullAdapter, createLinearAdapter, type Adapter } from "../../src/peft/adapter.js";
import { fft } from "../../src/peft/fft.js";
import { hira } from "../../src/peft/hira.js";
import { normal } from "../../src/peft/init.js";
import { selectTargets } from "../../src/peft/targets.js";
import { Tensor } from "../../src/runtime/tensor.js";
import { LossSession, type LossSessionOptions } from "../../src/train/loss-session.js";
import type { TokenBatch } from "../../src/train/tasks/task.js";
import { createParameterStore, type ParameterStore } from "../../src/train/parameters.js";

/** Two layers, two query heads to a key, sizes that all differ. */
export const tinyConfig: DecoderConfig = {
  modelType: "llama",
  vocabSize: 23,
  hiddenSize: 12,
  intermediateSize: 20,
  layers: 2,
  heads: 4,
  kvHeads: 2,
  headDim: 6,
  rotaryDim: 6,
  ropeTheta: 10000,
  ropeScaling: null,
  maxPositionEmbeddings: 64,
  rmsNormEps: 1e-5,
  activation: "silu",
  tieWordEmbeddings: false,
  qkvBias: false,
  outputBias: false,
  mlpBias: false,
  headNorms: false,
  windows: [undefined, undefined],
  attentionDropout: 0,
  bosId: undefined,
  eosIds: [],
  padId: undefined,
};

/** Random weights of a Llama, the same for equal names and shapes. */
export const randomWeights = (config: DecoderConfig): FrozenWeights =>
  randomWeightsOf(decoderModel(config));

/** The same of any model. */
export const randomWeightsOf = (model: Pick<Model, "tensors">): FrozenWeights => {
  const tensors = new Map(
    [...model.tensors].map(([name, shape]) => {
      const stream = randomStream(1, `random-llama:${name}`);
      const center = name.endsWith("norm.weight") ? 1 : 0;
      const data = Float32Array.from(
        { length: elementCount(shape) },
        () => center + 0.4 * stream.normal(),
      );
      return [name, Tensor.fromArray("float32", shape, data)] as const;
    }),
  );
  const tensor = (name: string): Tensor => {
    const found = tensors.get(name);
    if (!found) throw new RangeError(`no weight ${name}`);
    return found;
  };
  return {
    tensor,
    typeOf: tensor,
    names: tensors.keys(),
    ownedBytes: 0,
  };
};

/** HiRA with random A and B on the linear layers whose path ends with one of the names. */
export const hiraOn = (config: DecoderConfig, targets: string, rank = 2): Adapter =>
  createLinearAdapter(
    hira,
    { rank, initA: normal(0.4), initB: normal(0.4) },
    selectTargets(decoderModel(config).linears, targets),
  );

/** Every tensor of the model trains. */
export const fullAdapter = (config: DecoderConfig): Adapter =>
  createFullAdapter(fft, decoderModel(config).tensors);

/** A session with gradients, and what it trains: full fine-tuning starts from the weights. */
export const openTiny = async (
  config: DecoderConfig,
  adapter: Adapter,
  settings: Partial<Omit<LossSessionOptions, "adapter" | "model">> = {},
): Promise<{ readonly session: LossSession; readonly store: ParameterStore }> => {
  const weights = randomWeights(config);
  const names = new Set(weights.names);
  const store = createParameterStore(adapter, 1, ({ name }) =>
    names.has(name) ? (weights.tensor(name).data as Float32Array) : undefined,
  );
  const session = await LossSession.create(
    {
      model: decoderModel(config),
      adapter,
      maxPositions: 16,
      chunks: 1,
      gradients: true,
      recomputeLayers: false,
      ...settings,
    },
    weights,
    store,
    cpuPlan(1),
  );
  return { session, store };
};

/** Rows of random ids, each labelled after its first `context` ids, between `left` and `right` columns of padding. */
export const randomBatch = (
  rows: readonly {
    readonly length: number;
    readonly context: number;
    readonly left: number;
    readonly right: number;
  }[],
  vocabSize: number,
): TokenBatch => {
  const seq = Math.max(...rows.map(({ length, left, right }) => left + length + right));
  const inputIds = new BigInt64Array(rows.length * seq);
  const attentionMask = new Uint8Array(rows.length * seq);
  const labels = new Int32Array(rows.length * seq).fill(-100);
  rows.forEach(({ length, context, left }, row) => {
    const stream = randomStream(3, `random-llama:row of ${length}`);
    for (let i = 0; i < length; i++) {
      const [at, id] = [row * seq + left + i, stream.integer(vocabSize)];
      inputIds[at] = BigInt(id);
      attentionMask[at] = 1;
      if (i >= context) labels[at] = id;
    }
  });
  return { batch: rows.length, seq, inputIds, attentionMask, labels };
};
