import type { Compat } from "../core/compat.js";
import { UserError } from "../core/errors.js";
import type { BatchLayout } from "../datasets/build-batch.js";
import { listRows } from "../datasets/encode-rows.js";
import type { LlamaConfig } from "../models/llama-config.js";
import type { FrozenWeights } from "../models/weights/frozen-weights.js";
import type { Adapter } from "../peft/adapter.js";
import type { StepMetrics } from "../report/metrics.js";
import { peakMemoryBytes } from "../runtime/memory.js";
import type { Tensor } from "../runtime/tensor.js";
import { AdamW, clipFactor } from "./adamw.js";
import { readCheckpoint, writeCheckpoint, type Checkpoint, type Moments } from "./checkpoint.js";
import { removeCheckpoints, rotateCheckpoints } from "./checkpoint-folder.js";
import {
  noEvaluations,
  recordEvaluation,
  shouldStopEarly,
  type EvaluationRecord,
} from "./early-stop.js";
import { evaluateLoss, type EvaluationOptions } from "./evaluate-loss.js";
import type { InterruptName, InterruptSignal } from "./interrupt.js";
import { chunkCount, LossSession } from "./loss-session.js";
import type { Optimizer } from "./optimizer.js";
import { planMicroBatches, type MicroBatches } from "./micro-batches.js";
import { clearGradients, type ParameterStore } from "./parameters.js";
import { requirePosition, restoreParameters } from "./resume.js";
import {
  countStepsPerEpoch,
  countTotalSteps,
  isEvaluationStep,
  learningRate,
  resolveEvalSteps,
  type EvaluationPlan,
} from "./schedule.js";
import { createSparsifier, sparsityAt } from "./sparsity.js";
import { checkpointName, type LogEntry, type TrainerState } from "./trainer-state.js";
import { mostLabels, type TrainingData } from "./training-data.js";

/** The numbers of a run; see cli/options.ts for what the flags mean. */
export interface TrainingSettings {
  readonly batch: number;
  readonly gradAcc: number;
  readonly epoch: number;
  /** Updates, in place of `epoch`. */
  readonly maxSteps: number | undefined;
  readonly lr: number;
  readonly warmup: number;
  readonly weightDecay: number;
  readonly optimizer: Optimizer;
  /** 0: no clipping. */
  readonly maxGradNorm: number;
  /** As given; undefined does not enter the run's name. */
  readonly seed: number | undefined;
  readonly shuffle: boolean;
  readonly enableGradCkpt: boolean;
  readonly evalStrategy: "no" | "steps" | "epoch";
  /** Below 1 a share of all updates, else a whole number of them. */
  readonly evalSteps: number;
  /** 0: keep all. */
  readonly saveTotalLimit: number;
  /** 0: never stop early. */
  readonly earlyStopPatience: number;
  readonly threads: number | undefined;
  readonly compat: Compat;
}

/** The seed of a run that names none; also the order's seed under compat "seed", as in the authors' program. */
export const DEFAULT_SEED = 42;

export interface TrainingPlan extends EvaluationPlan {
  readonly batchesPerEpoch: number;
  readonly warmupSteps: number;
}

/** How many updates a run has, and when it evaluates. */
export const planTraining = (settings: TrainingSettings, rows: number): TrainingPlan => {
  const { batch, gradAcc, epoch, maxSteps, evalStrategy, evalSteps, warmup } = settings;
  const batchesPerEpoch = Math.ceil(rows / batch);
  const totalSteps = maxSteps ?? countTotalSteps(epoch, batchesPerEpoch, gradAcc);
  return {
    batchesPerEpoch,
    totalSteps,
    warmupSteps: warmup,
    stepsPerEpoch: countStepsPerEpoch(batchesPerEpoch, gradAcc),
    strategy: evalStrategy,
    everySteps: evalStrategy === "steps" ? resolveEvalSteps(evalSteps, totalSteps) : 1,
  };
};

export interface EvaluationResult {
  readonly step: number;
  readonly loss: number;
  readonly best: boolean;
  readonly seconds: number;
  readonly rows: number;
  readonly batches: number;
}

/** Where the loop tells what happens; it waits for each of them. */
export interface TrainingEvents {
  step(metrics: StepMetrics, epoch: number, nextLearningRate: number): Promise<void>;
  evaluation(result: EvaluationResult, epoch: number): Promise<void>;
  /** Before a checkpoint is saved: records of the steps so far have to be on the disk, so that it never stands without them. */
  saving(): Promise<void>;
}

export interface TrainingJob {
  readonly config: LlamaConfig;
  readonly weights: FrozenWeights;
  readonly adapter: Adapter;
  readonly store: ParameterStore;
  readonly data: TrainingData;
  readonly settings: TrainingSettings;
  /** The run's folder, where checkpoints go; undefined saves none. */
  readonly runFolder: string | undefined;
  /** The checkpoint of an equal run to go on from. */
  readonly resumeFrom?: Checkpoint | undefined;
  /** Writes the trained weights as they stand into a checkpoint's folder. */
  readonly writeWeights: (folder: string) => Promise<void>;
  /** Reads them back from a checkpoint's folder. */
  readonly readWeights: (folder: string) => Promise<void>;
  readonly events: TrainingEvents;
  readonly interrupt?: InterruptSignal | undefined;
}

export interface TrainingResult {
  readonly steps: number;
  readonly totalSteps: number;
  /** In all processes of the run together. */
  readonly trainSeconds: number;
  /** Mean of the steps' losses, those before a resumption too. */
  readonly meanLoss: number;
  readonly evaluations: EvaluationRecord;
  /** Set where a signal ended the run. */
  readonly interrupted: InterruptName | undefined;
  /** The checkpoint that was loaded at the end, by its name in the run folder. */
  readonly bestCheckpoint: string | undefined;
}

/**
 * Trains an adapter: per update the micro-batches' gradients are added up, clipped and given to AdamW; the validation loss is
 * measured and a checkpoint saved as planned; at the end the best checkpoint is loaded.
 *
 * loss is the mean over the update's labelled tokens (compat "loss-mean": the mean of the micro-batches' means).
 * A signal ends the run after its step, with a checkpoint. A run that goes on from one computes the same bits as one that was
 * never stopped: all it needs are the checkpoint's weights, moments and counters, since everything random is a function of
 * (seed, purpose, step).
 * @throws {UserError} on a loss or gradient that is not finite, naming the step and its rows; checkpoints stay as they are
 */
export const trainAdapter = async (job: TrainingJob): Promise<TrainingResult> => {
  const { config, weights, adapter, store, data, settings, interrupt, events } = job;
  const { compat } = settings;
  checkPositions(job);
  const plan = planTraining(settings, data.train.length);
  const schedule = {
    peak: settings.lr,
    warmupSteps: plan.warmupSteps,
    totalSteps: plan.totalSteps,
  };
  const seed = settings.seed ?? DEFAULT_SEED;
  const { train: batches, evaluation } = planRunBatches(settings, data, adapter);

  const openSession = (gradients: boolean, rows: TrainingData["train"], batch: number) =>
    LossSession.create(
      {
        config,
        adapter,
        maxPositions: data.longest,
        chunks: chunkCount(mostLabels(rows, batch)),
        gradients,
        recomputeLayers: gradients && settings.enableGradCkpt,
        drops: gradients,
      },
      weights,
      store,
      { threads: settings.threads },
    );
  const session = await openSession(true, data.train, settings.batch);
  const evaluator = evaluation && (await openSession(false, evaluation.rows, evaluation.batch));
  const optimizer = await AdamW.create(
    store,
    { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: settings.weightDecay },
    settings.threads,
  );

  const { sparsity } = adapter.options;
  const sparsifier = sparsity && createSparsifier(sparsity, store, plan.totalSteps);

  const positionAt = (step: number) => ({ seed, step, ...batches.positionAfter(step) });
  const { resumeFrom } = job;
  if (resumeFrom) {
    const { totalSteps } = plan;
    requirePosition(resumeFrom, { ...positionAt(resumeFrom.step), totalSteps });
    await restoreParameters(resumeFrom, store, job.readWeights);
  }
  const before = resumeFrom?.state;
  let evaluations = before?.evaluations ?? noEvaluations;
  let [done, tokensSeen, savedStep] = [
    before?.step ?? 0,
    before?.tokensSeen ?? 0,
    before?.step ?? 0,
  ];
  const logHistory: LogEntry[] = [...(before?.logHistory ?? [])];
  // In the order of the steps, so that the sum has the bits of an uninterrupted run's.
  let lossSum = logHistory.reduce((sum, { loss }) => sum + (loss ?? 0), 0);
  const epochAt = (step: number): number => step / plan.stepsPerEpoch;
  const started = performance.now();
  const secondsSoFar = (): number =>
    (before?.trainSeconds ?? 0) + (performance.now() - started) / 1000;

  /** One update. @returns its metrics */
  const update = async (step: number): Promise<StepMetrics> => {
    const started = performance.now();
    const micro = batches.ofStep(step);
    const labelled = micro.reduce((sum, { labelledTokens }) => sum + labelledTokens, 0);
    clearGradients(store);
    let loss = 0;
    for (const [microBatch, batch] of micro.entries()) {
      const count = compat.has("loss-mean") ? batch.labelledTokens * micro.length : labelled;
      loss += (
        await session.run(batch, 1 / Math.max(1, count), {
          signal: interrupt?.abort,
          draw: { seed: dataSeed(settings), step, microBatch },
        })
      ).loss;
    }
    sparsifier?.prepareGradients();
    const gradNorm = await optimizer.gradientNorm();
    if (!Number.isFinite(loss) || !Number.isFinite(gradNorm))
      throw notFinite(
        step + 1,
        loss,
        gradNorm,
        micro.flatMap(({ rows }) => rows),
        savedStep,
      );
    const lr = learningRate(schedule, step);
    await optimizer.update(step + 1, lr, clipFactor(gradNorm, settings.maxGradNorm));
    sparsifier?.afterUpdate(step + 1);
    return {
      step: step + 1,
      loss,
      gradNorm,
      lr,
      tokens: micro.reduce((sum, { tokens }) => sum + tokens, 0),
      paddedTokens: micro.reduce((sum, { batch, seq }) => sum + batch * seq, 0),
      stepMs: performance.now() - started,
      peakMemoryBytes: peakMemoryBytes(),
      ...(sparsifier && { sparsity: sparsifier.achieved }),
    };
  };

  const save = async (): Promise<void> => {
    if (job.runFolder === undefined || savedStep === done) return;
    const state: TrainerState = {
      step: done,
      totalSteps: plan.totalSteps,
      epoch: epochAt(done),
      epochs: settings.epoch,
      batch: settings.batch,
      evalSteps: plan.everySteps,
      tokensSeen,
      trainSeconds: secondsSoFar(),
      evaluations,
      earlyStopPatience: settings.earlyStopPatience,
      logHistory,
    };
    await events.saving();
    await writeCheckpoint(job.runFolder, {
      state,
      position: positionAt(done),
      moments: momentsOf(store),
      writeWeights: job.writeWeights,
    });
    savedStep = done;
    // What an interruption saves takes no other checkpoint's place, and goes with the next one that is planned.
    if (!isPlanned(done)) return;
    await removeUnplanned();
    await rotateCheckpoints(job.runFolder, settings.saveTotalLimit, evaluations.best?.step);
  };
  const isPlanned = (step: number): boolean =>
    settings.evalStrategy === "no" ? step === plan.totalSteps : isEvaluationStep(plan, step);
  const removeUnplanned = async (): Promise<void> => {
    if (job.runFolder !== undefined)
      await removeCheckpoints(job.runFolder, (step) => !isPlanned(step));
  };

  try {
    // A run that had stopped early before it was killed has nothing left to train.
    const stopsEarly = (): boolean => shouldStopEarly(evaluations, settings.earlyStopPatience);
    while (done < plan.totalSteps && interrupt?.requested === undefined && !stopsEarly()) {
      const metrics = await update(done);
      done++;
      lossSum += metrics.loss;
      tokensSeen += metrics.tokens;
      logHistory.push({
        epoch: epochAt(done),
        grad_norm: metrics.gradNorm,
        learning_rate: learningRate(schedule, done),
        loss: metrics.loss,
        step: done,
      });
      await events.step(metrics, epochAt(done), learningRate(schedule, done));
      if (!isEvaluationStep(plan, done)) continue;
      if (evaluator && evaluation) {
        const result = await evaluate(evaluator, evaluation, done);
        const before = evaluations.best;
        // An adapter that is still to be pruned is no result, however low its loss.
        if (!sparsity || sparsityAt(sparsity, done, plan.totalSteps) === sparsity.sparsity)
          evaluations = recordEvaluation(evaluations, { step: done, evalLoss: result.loss });
        logHistory.push({ epoch: epochAt(done), eval_loss: result.loss, step: done });
        await events.evaluation({ ...result, best: evaluations.best !== before }, epochAt(done));
      }
      await save();
    }
    const interrupted = interrupt?.requested;
    // Without evaluations there is no best checkpoint: the last weights are the result, and are not thrown away.
    if (interrupted || settings.evalStrategy === "no") await save();
    if (!interrupted) await removeUnplanned();
    const trainSeconds = secondsSoFar();
    const { best } = evaluations;
    const reload = !interrupted && best !== undefined && job.runFolder !== undefined;
    if (reload && best.step !== done) await loadBest(job, best.step);
    return {
      steps: done,
      totalSteps: plan.totalSteps,
      trainSeconds,
      meanLoss: lossSum / Math.max(1, done),
      evaluations,
      interrupted,
      bestCheckpoint: reload ? checkpointName(best.step) : undefined,
    };
  } finally {
    session.dispose();
    evaluator?.dispose();
    optimizer.dispose();
  }

  async function evaluate(
    evaluationSession: LossSession,
    options: EvaluationOptions,
    step: number,
  ): Promise<Omit<EvaluationResult, "best">> {
    const begun = performance.now();
    const loss = await evaluateLoss(evaluationSession, options, interrupt?.abort);
    return {
      step,
      loss,
      seconds: (performance.now() - begun) / 1000,
      rows: options.rows.length,
      batches: Math.ceil(options.rows.length / options.batch),
    };
  }
};

/** The seed of data order and dropout; the authors' trainer always has its own. */
const dataSeed = ({ compat, seed }: TrainingSettings): number =>
  compat.has("seed") ? DEFAULT_SEED : (seed ?? DEFAULT_SEED);

/** The batches of a run. Its flags and rows alone decide them, so that another program can be given the same ones. */
export interface RunBatches {
  readonly train: MicroBatches;
  /** The validation rows; undefined where nothing is evaluated. */
  readonly evaluation: EvaluationOptions | undefined;
}

/** Which batches a run trains and evaluates on, in which order. */
export const planRunBatches = (
  settings: TrainingSettings,
  data: TrainingData,
  adapter: Adapter,
): RunBatches => {
  const { compat, batch, gradAcc, shuffle, evalStrategy } = settings;
  const { padId, validation } = data;
  const seed = dataSeed(settings);
  const layout = layoutOf(data.layout, adapter, compat);
  const train = planMicroBatches({
    rows: data.train,
    batch,
    gradAcc,
    layout,
    padId,
    orderOf: (epoch) =>
      shuffle ? { kind: "shuffled", seed, epoch, buckets: !compat.has("pad") } : { kind: "file" },
  });
  if (evalStrategy === "no" || validation === undefined) return { train, evaluation: undefined };
  return {
    train,
    evaluation: {
      rows: validation,
      batch: Math.max(1, Math.floor(batch / data.evaluationBatchDivisor)),
      layout,
      padId,
      mean: compat.has("loss-mean") ? "rows" : "tokens",
    },
  };
};

/** @throws {UserError} if virtual tokens push the longest row beyond the positions that the model was made for */
const checkPositions = ({ adapter, config, data }: TrainingJob): void => {
  const count = adapter.virtual?.count ?? 0;
  if (count === 0) return;
  const rows = [...data.train, ...(data.validation ?? [])];
  const longest = rows.reduce((most, { ids }) => Math.max(most, ids.length), 0);
  if (count + longest > config.maxPositionEmbeddings)
    throw new UserError(
      `Cannot put --virtual_tokens=${String(count)} in front of rows of up to ${String(longest)} tokens: expected at most the model's ${String(config.maxPositionEmbeddings)} positions`,
      "Choose fewer virtual tokens, or shorter rows",
    );
};

/**
 * Behind virtual tokens, positions count columns: rows start in column 0, so that no result depends on the rows beside
 * them. Under compat "pad" they stay where the authors' program has them.
 */
const layoutOf = (layout: BatchLayout, { virtual }: Adapter, compat: Compat): BatchLayout =>
  virtual && !compat.has("pad") ? { kind: "right-padded" } : layout;

const loadBest = async (job: TrainingJob, step: number): Promise<void> => {
  const { folder } = await readCheckpoint(
    `${job.runFolder ?? ""}/${checkpointName(step)}`,
    "sizes",
  );
  await job.readWeights(folder);
};

function* momentsOf(store: ParameterStore): Iterable<Moments> {
  const elements = (tensor: Tensor | undefined) => tensor?.data as Float32Array;
  for (const [name, m] of store.m)
    yield { name, shape: m.shape, m: elements(m), v: elements(store.v.get(name)) };
}

const notFinite = (
  step: number,
  loss: number,
  gradNorm: number,
  rows: readonly number[],
  savedStep: number,
): UserError =>
  new UserError(
    `Cannot go on training at step ${String(step)}: found loss ${String(loss)} and gradient norm ${String(gradNorm)} on ${listRows([...rows].sort((a, b) => a - b))}, expected finite numbers`,
    savedStep > 0
      ? `The last good checkpoint is ${checkpointName(savedStep)}. Lower --lr or raise --warmup, and look at those rows`
      : "Nothing was saved yet. Lower --lr or raise --warmup, and look at those rows",
  );
