import { blockSizes, type BlockPlan } from "../models/blocks/attention-blocks.js";
import { MASKED } from "../models/blocks/attention.js";
import { weightsOn } from "../models/weights/device-weights.js";
import { initializersOf, type FrozenWeights } from "../models/weights/frozen-weights.js";
import {
  cpuPlan,
  openLayers,
  type ComputePlan,
  type OpenLayersOptions,
} from "../runtime/compute-plan.js";
import type { Device } from "../runtime/device.js";
import type { Session } from "../runtime/session.js";
import { Tensor } from "../runtime/tensor.js";
import { drawDropoutKeys, type DropoutDraw } from "../models/blocks/dropout.js";
import type { VirtualTokens } from "../peft/method.js";
import { virtualId } from "../peft/virtual-tokens.js";
import { noLoss } from "../datasets/encoded-rows.js";
import {
  accumulatorName,
  buildLossGraph,
  dropoutWidth,
  gradientName,
  gradientOrder,
  parameterName,
  planOfBlocks,
  type LossGraphOptions,
} from "./loss-graph.js";
import { gradientSums, markGradients, requirePlaceOf, type TrainedTensors } from "./parameters.js";
import { shardHooks } from "./shard-hooks.js";
import type { Shards } from "./shards.js";
import { causalLm } from "./tasks/causal-lm.js";
import type { Task, TokenBatch } from "./tasks/task.js";

/** Labelled rows whose logits are in memory at a time: beyond it ONNX Runtime's matrix product over a vocabulary slows down. */
const CHUNK_ROWS = 256;

/** Into how many parts `maxLabels` labelled rows are cut. */
export const chunkCount = (maxLabels: number): number =>
  Math.max(1, Math.ceil(maxLabels / CHUNK_ROWS));

/** The batch with `count` virtual tokens, by the ids from `firstId` on, in front of every row. */
const withVirtualTokens = (
  { batch, seq, inputIds, attentionMask, tokenTypes, labels }: TokenBatch,
  count: number,
  firstId: number,
): TokenBatch => {
  const width = count + seq;
  const wide = {
    batch,
    seq: width,
    inputIds: new BigInt64Array(batch * width),
    attentionMask: new Uint8Array(batch * width).fill(1),
    ...(tokenTypes && { tokenTypes: new BigInt64Array(batch * width) }),
    labels: new Int32Array(batch * width).fill(noLoss),
  };
  for (let row = 0; row < batch; row++) {
    const [from, to] = [row * seq, row * width];
    for (let i = 0; i < count; i++) wide.inputIds[to + i] = BigInt(firstId + i);
    wide.inputIds.set(inputIds.subarray(from, from + seq), to + count);
    wide.attentionMask.set(attentionMask.subarray(from, from + seq), to + count);
    if (tokenTypes) wide.tokenTypes?.set(tokenTypes.subarray(from, from + seq), to + count);
    wide.labels.set(labels.subarray(from, from + seq), to + count);
  }
  return wide;
};

/**
 * The feeds of a loss graph for one batch.
 *
 * Positions count each row's real tokens from 0; behind virtual tokens they count columns, padding included, as peft does.
 */
const feedsOf = (
  batch: TokenBatch,
  lossScale: number,
  {
    chunks,
    virtual,
    task,
    tokenTypes,
    blocks,
    gradients,
  }: {
    readonly chunks: number;
    readonly virtual: VirtualTokens | undefined;
    readonly task: Task;
    /** Whether the graph takes them. */
    readonly tokenTypes: boolean;
    /** How attention is cut. */
    readonly blocks: BlockPlan;
    readonly gradients: boolean;
  },
): Record<string, Tensor> => {
  const { batch: rows, seq, inputIds, attentionMask } = batch;
  const positions = new BigInt64Array(rows * seq);
  const keyBias = new Float32Array(rows * seq);
  const first = virtual?.form === "keys-values" ? virtual.count : 0;
  for (let row = 0; row < rows; row++) {
    let next = 0n;
    for (let column = 0; column < seq; column++) {
      const i = row * seq + column;
      if (virtual) positions[i] = BigInt(first + column);
      else if (attentionMask[i]) positions[i] = next++;
      if (!attentionMask[i] && virtual?.masksPadding !== false) keyBias[i] = MASKED;
    }
  }
  const labelled = task.labelled(batch);
  const count = labelled.rows.length;
  const tensors: Record<string, Tensor> = {
    input_ids: Tensor.fromArray("int64", [rows, seq], inputIds),
    positions: Tensor.fromArray("int64", [rows, seq], positions),
    columns: Tensor.fromArray(
      "int64",
      [seq],
      BigInt64Array.from({ length: seq }, (_, i) => BigInt(i)),
    ),
    key_bias: Tensor.fromArray("float32", [rows, seq], keyBias),
    label_rows: Tensor.fromArray("int64", [count], labelled.rows),
    label_ids: Tensor.fromArray("int64", [count], labelled.ids),
    loss_scale: Tensor.fromArray("float32", [], Float32Array.of(lossScale)),
  };
  if (tokenTypes)
    tensors.token_types = Tensor.fromArray(
      "int64",
      [rows, seq],
      batch.tokenTypes ?? new BigInt64Array(rows * seq),
    );
  if (chunks > 1) {
    const sizes = BigInt64Array.from({ length: chunks }, (_, i) =>
      BigInt(Math.floor(((i + 1) * count) / chunks) - Math.floor((i * count) / chunks)),
    );
    tensors.chunk_sizes = Tensor.fromArray("int64", [chunks], sizes);
  }
  if (blocks.count > 1) {
    const sizes = BigInt64Array.from(blockSizes(blocks, seq), BigInt);
    tensors.block_sizes = Tensor.fromArray("int64", [blocks.count], sizes);
    if (gradients) tensors.zero = Tensor.zeros("float32", []);
  }
  return tensors;
};

/** What a run of the session gives. */
export interface LossOutputs {
  readonly loss: number;
  readonly logits: Float32Array | undefined;
  readonly labelLosses: Float32Array | undefined;
  readonly labelLogits: Float32Array | undefined;
}

/** What a session computes: the graph, and which of a batch's rows have a loss; of a language model, causalLm. */
export interface LossSessionOptions extends Omit<LossGraphOptions, "typeOf"> {
  readonly task?: Task;
}

/** What one forward and backward run needs beside its batch. */
export interface LossRunOptions {
  readonly signal?: AbortSignal | undefined;
  /** Needed where dropout acts. */
  readonly draw?: DropoutDraw | undefined;
}

/** One of the batches of an update; see LossSession.run. */
export interface MicroStep {
  readonly batch: TokenBatch;
  readonly lossScale: number;
  readonly draw: DropoutDraw;
}

/** The keys of dropout for one batch. */
const dropoutFeeds = (
  { batch, seq }: TokenBatch,
  width: number,
  draw: DropoutDraw | undefined,
): Record<string, Tensor> => {
  if (!draw) throw new RangeError("Cannot train with dropout: found no draw");
  const { rows, columns } = drawDropoutKeys(draw, { rows: batch * seq, width });
  return {
    dropout_rows: Tensor.fromArray("int32", [batch, seq, 2], rows),
    dropout_columns: Tensor.fromArray("int32", [2, width], columns),
  };
};

/** A copy of logits [batch, columns, vocab] without the first columns of every row. */
const dropColumns = ({ shape, data }: Tensor, count: number): Float32Array => {
  const [batch = 0, columns = 0, vocab = 0] = shape;
  const rows = data as Float32Array;
  if (count === 0) return rows.slice();
  const kept = new Float32Array(batch * (columns - count) * vocab);
  for (let row = 0; row < batch; row++)
    kept.set(
      rows.subarray((row * columns + count) * vocab, (row + 1) * columns * vocab),
      row * (columns - count) * vocab,
    );
  return kept;
};

/** Tensors under the names that a graph has for them. */
const named = (
  tensors: ReadonlyMap<string, Tensor> | undefined,
  nameOf: (parameter: string) => string,
): Readonly<Record<string, Tensor>> =>
  Object.fromEntries([...(tensors ?? [])].map(([name, tensor]) => [nameOf(name), tensor]));

/** What is brought while parts run, in place of what each process would have whole: in stage 2 and 3. */
const hooksFor = (
  shards: Shards | undefined,
  initializers: Readonly<Record<string, Tensor>>,
): Pick<OpenLayersOptions, "hooks" | "initializers"> => {
  if (!shards || shards.stage === 1 || shards.isFinished) return { initializers };
  const { weights } = shards;
  if (shards.stage === 3)
    for (const [name, tensor] of Object.entries(initializers))
      if (weights.isShared(tensor)) weights.add(name, tensor);
  const whole = Object.entries(initializers).filter(([name]) => !weights.has(name));
  return { initializers: Object.fromEntries(whole), hooks: shardHooks(shards) };
};

/** ONNX Runtime's fusions that act where shapes are known, and compute a sum in another order. */
const fusionsByShape = [
  "MatMulAddFusion",
  "SkipLayerNormFusion",
  "BiasGeluFusion",
  "AttentionFusion",
  "EmbedLayerNormFusion",
];

/** A model with its loss, ready to run; with gradients, each run adds to the store's. */
export class LossSession {
  /** The parameters that train, in the order of gradientOrder; none of a session without gradients. */
  readonly gradientOrder: readonly string[];
  readonly #session: Session;
  readonly #device: Device;
  /** On a device of its own memory: of each micro-step of an update the loss, float32 []. */
  readonly #losses: Tensor[] = [];
  readonly #chunks: number;
  readonly #blocks: BlockPlan;
  readonly #task: Task;
  readonly #virtual: VirtualTokens | undefined;
  readonly #vocabSize: number;
  readonly #tokenTypes: boolean;
  /** Of the widest layer with dropout; undefined where nothing is dropped. */
  readonly #dropoutWidth: number | undefined;
  readonly #parameters: Readonly<Record<string, Tensor>>;
  /** Whose gradients each run adds to; undefined without gradients. */
  readonly #trained: TrainedTensors | undefined;
  readonly #outputs: Readonly<Record<string, Tensor>>;

  private constructor(
    { session, device }: { readonly session: Session; readonly device: Device },
    options: LossSessionOptions,
    store: TrainedTensors | undefined,
    order: readonly string[],
  ) {
    const { chunks, adapter, model, task = causalLm } = options;
    this.gradientOrder = order;
    this.#session = session;
    this.#device = device;
    this.#dropoutWidth = dropoutWidth(options);
    this.#chunks = chunks;
    this.#blocks = planOfBlocks(options);
    this.#task = task;
    this.#virtual = adapter?.virtual;
    this.#vocabSize = model.vocabSize;
    this.#tokenTypes = model.tokenTypes > 0;
    this.#parameters = named(store?.values, parameterName);
    this.#trained = options.gradients ? store : undefined;
    this.#outputs = named(this.#trained?.gradients, gradientName);
  }

  /**
   * Builds the graph and its sessions over `weights` (shared, not copied) and the store's tensors.
   *
   * Constant folding is off: it would widen the frozen weights for good. So is the runtime's common-subexpression pass,
   * which would undo recomputation. The runtime is told all shapes: its plan of buffers compares each value whose shape it does
   * not know with all those before, which for a HiRA step of 30 layers takes 0.9 of 1.9 s of processor time (EPYC). Fusions that
   * ask for shapes, and would change the last bits, stay off.
   *
   * @throws {RangeError} unless the plan's device is the store's
   */
  static async create(
    options: LossSessionOptions,
    weights: FrozenWeights,
    store: TrainedTensors | undefined,
    plan: ComputePlan = cpuPlan(),
  ): Promise<LossSession> {
    if (store) requirePlaceOf(plan.device, store);
    const held = weightsOn(plan.device, weights);
    const graph = buildLossGraph({ ...options, typeOf: (name) => held.typeOf(name) });
    const hooked = hooksFor(store?.shards, initializersOf(graph, held));
    const session = await openLayers(plan, graph, {
      ...hooked,
      disabledOptimizers: [
        "CommonSubexpressionElimination",
        "ConstantFolding",
        "FuseFp16InitializerToFp32NodeTransformer",
        ...fusionsByShape,
      ],
      shapes: true,
    });
    return new LossSession({ session, device: plan.device }, options, store, gradientOrder(graph));
  }

  /**
   * loss = lossScale * sum of -log p over the batch's labels.
   *
   * Where the graph was built with them: `logits` [batch, seq, vocab], of the batch's own columns; of every label, in the task's order,
   * `labelLosses`, -log p, and `labelLogits` [labels, vocab].
   * @param options.draw which masks dropout has
   * @throws {RangeError} where dropout acts and nothing says which masks it has
   */
  async run(
    batch: TokenBatch,
    lossScale: number,
    options: LossRunOptions = {},
  ): Promise<LossOutputs> {
    const made = await this.#compute(batch, lossScale, options);
    const loss = (made.loss?.data as Float32Array)[0] ?? NaN;
    made.loss?.dispose();
    const logits = made.logits && dropColumns(made.logits, this.#columnsInFront);
    made.logits?.dispose();
    const labelLosses = (made.label_losses?.data as Float32Array | undefined)?.slice();
    made.label_losses?.dispose();
    const labelLogits = (made.label_logits?.data as Float32Array | undefined)?.slice();
    made.label_logits?.dispose();
    return { loss, logits, labelLosses, labelLogits };
  }

  /**
   * Forward and backward runs one after the other, whose gradients add up.
   *
   * @param rounds how many other processes of a group run at most: a process with fewer steps accompanies the rest of them
   * @returns reads the sum of their losses. On a device, nothing has waited for the runs before it is called; what is read is the
   *   latest call's
   */
  async accumulate(
    steps: readonly MicroStep[],
    signal?: AbortSignal,
    rounds = steps.length,
  ): Promise<() => number> {
    const isHost = this.#device.place === "host";
    let sum = 0;
    for (const [i, { batch, lossScale, draw }] of steps.entries())
      if (isHost) sum += (await this.run(batch, lossScale, { signal, draw })).loss;
      else {
        const loss = (this.#losses[i] ??= this.#device.zeros("float32", []));
        await this.#compute(batch, lossScale, { signal, draw }, { loss });
      }
    for (let i = steps.length; i < rounds; i++) await this.accompany();
    const losses = isHost ? [] : this.#losses.slice(0, steps.length);
    return () => losses.reduce((all, loss) => all + Number(this.#device.read(loss)[0] ?? NaN), sum);
  }

  /** Takes part in the messages of a run that other processes make, where the store is shared out. */
  async accompany(): Promise<void> {
    await this.#session.accompany?.();
  }

  /** Columns that virtual tokens take of a batch. */
  get #columnsInFront(): number {
    return this.#virtual?.form === "embeddings" ? this.#virtual.count : 0;
  }

  /** A run of the session, with `outputs` beside the gradients. */
  async #compute(
    batch: TokenBatch,
    lossScale: number,
    { signal, draw }: LossRunOptions,
    outputs: Readonly<Record<string, Tensor>> = {},
  ): Promise<Record<string, Tensor>> {
    const virtual = this.#virtual;
    const columnsInFront = this.#columnsInFront;
    const whole =
      columnsInFront > 0
        ? withVirtualTokens(batch, columnsInFront, virtualId(this.#vocabSize, 0))
        : batch;
    const feeds = {
      ...feedsOf(whole, lossScale, {
        ...{ chunks: this.#chunks, virtual, task: this.#task, tokenTypes: this.#tokenTypes },
        ...{ blocks: this.#blocks, gradients: this.#trained !== undefined },
      }),
      ...(this.#dropoutWidth !== undefined && dropoutFeeds(whole, this.#dropoutWidth, draw)),
    };
    try {
      const sums = named(this.#trained && gradientSums(this.#trained), accumulatorName);
      const inputs = { ...feeds, ...this.#parameters, ...sums };
      const made = await this.#session.run(
        inputs,
        { ...this.#outputs, ...outputs },
        { ...(signal && { signal }) },
      );
      if (this.#trained) markGradients(this.#trained);
      return made;
    } finally {
      for (const tensor of Object.values(feeds)) tensor.dispose();
    }
  }

  dispose(): void {
    for (const loss of this.#losses) loss.dispose();
    this.#session.dispose();
  }
}
