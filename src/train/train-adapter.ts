import { UserError } from "../core/errors.js";
import type { Model } from "../models/model.js";
import type { FrozenWeights } from "../models/weights/frozen-weights.js";
import type { Adapter } from "../peft/adapter.js";
import type { StepMetrics } from "../report/metrics.js";
import type { ComputePlan } from "../runtime/compute-plan.js";
import { AdamW, defaultAdamW } from "./adamw.js";
import { classFigures, type Classified } from "./class-figures.js";
import { readCheckpoint, type Checkpoint, type RunPosition } from "./checkpoint.js";
import { shouldStopEarly, type EvaluationRecord } from "./early-stop.js";
import { soloGroup, type ProcessGroup } from "../distributed/process-group.js";
import { defaultLossScaling } from "../distributed/loss-scaling.js";
import { evaluateLoss, type EvaluationOptions } from "./evaluate-loss.js";
import {
  activities,
  InterruptedError,
  type InterruptName,
  type InterruptSignal,
} from "./interrupt.js";
import { LossSession, type LossSessionOptions } from "./loss-session.js";
import { startingLossScale } from "./loss-scaler.js";
import type { ParameterStore } from "./parameters.js";
import { requirePosition, restoreParameters, restoreShards } from "./resume.js";
import { planRunBatches } from "./run-batches.js";
import { runUpdate, type Updater } from "./run-update.js";
import {
  removeUnplannedCheckpoints,
  helpSaving,
  saveCheckpoint,
  type CheckpointTarget,
} from "./save-checkpoint.js";
import { isEvaluationStep, learningRate } from "./schedule.js";
import { createSparsifier, isPruned } from "./sparsity.js";
import { checkpointName } from "./trainer-state.js";
import type { TrainingData } from "./loaded-data.js";
import { evaluationGraph, trainingGraph } from "./training-session.js";
import {
  DEFAULT_SEED,
  planTraining,
  scheduleOf,
  type TrainingPlan,
  type TrainingSettings,
} from "./training-settings.js";
import {
  afterEvaluation,
  afterUpdate,
  isEvaluated,
  startingState,
  type EvaluationFigures,
  type TrainingState,
} from "./training-state.js";

/** One evaluation during a training: its figures, and whether they are the best so far. */
export interface EvaluationResult {
  readonly step: number;
  readonly figures: EvaluationFigures;
  /** Of rows with classes, what was said of each. */
  readonly classified: Classified | undefined;
  readonly best: boolean;
  readonly seconds: number;
  readonly rows: number;
  readonly batches: number;
}

/** Where the loop tells what happens; it waits for each of them. */
export interface TrainingEvents {
  step(metrics: StepMetrics, epoch: number, nextLearningRate: number): Promise<void>;
  /** An update in fp16 was not made; why. */
  skipped(message: string): void;
  /** `rows` of `total` validation rows are done; not waited for. */
  validating(rows: number, total: number): void;
  evaluation(result: EvaluationResult, epoch: number): Promise<void>;
  /** Before a checkpoint is saved: records of the steps so far have to be on the disk, so that it never stands without them. */
  saving(): Promise<void>;
}

/** All that a training works on: model, parameters, data and settings, and where checkpoints go. */
export interface TrainingJob {
  readonly model: Model;
  readonly weights: FrozenWeights;
  readonly adapter: Adapter;
  readonly store: ParameterStore;
  readonly data: TrainingData;
  readonly settings: TrainingSettings;
  /** Where it computes. */
  readonly plan: ComputePlan;
  /** The training's session where it is made already (see trainingGraph), which is disposed of with the others. */
  readonly session?: LossSession | undefined;
  /** The run's folder, where checkpoints go; undefined saves none. */
  readonly runFolder: string | undefined;
  /** The checkpoint of an equal run to go on from. */
  readonly resumeFrom?: Checkpoint | undefined;
  /** Writes the trained weights as they stand into a checkpoint's folder. */
  readonly writeWeights: (folder: string) => Promise<void>;
  /** Reads them back from a checkpoint's folder. */
  readonly readWeights: (folder: string) => Promise<void>;
  readonly events: TrainingEvents;
  /**
   * The processes that train together; default: this one alone. Process 0 has the run folder, and what it starts from or loads
   * the others get.
   */
  readonly group?: ProcessGroup | undefined;
  readonly interrupt?: InterruptSignal | undefined;
}

/** What a training has done when it ends, whether by its last step, early or by a signal. */
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
  /** Whether a checkpoint holds the state that the run has reached. */
  readonly isSaved: boolean;
  /** Whether the signal has ended an evaluation, which is still to be done. */
  readonly inEvaluation: boolean;
  /** The checkpoint that was loaded at the end, by its name in the run folder. */
  readonly bestCheckpoint: string | undefined;
}

/** What a run works with, from its first update to its last. */
interface Trainer extends Updater {
  readonly job: TrainingJob;
  readonly plan: TrainingPlan;
  /** The loss over the validation rows; undefined where nothing is evaluated. */
  readonly evaluator:
    { readonly session: LossSession; readonly options: EvaluationOptions } | undefined;
  /** Undefined where nothing is saved, and in every process but the first. */
  readonly checkpoints: CheckpointTarget | undefined;
  /** Whether process 0 saves. */
  readonly saves: boolean;
  /** Of this process and those before it. */
  readonly trainSeconds: () => number;
}

/**
 * Trains an adapter: per update the micro-batches' gradients are added up, clipped and given to AdamW; the validation loss is
 * measured and a checkpoint saved as planned; at the end the best checkpoint is loaded.
 *
 * loss is the mean over the update's labelled tokens (compat "loss-mean": the mean of the micro-batches' means).
 * A signal ends the run after its step, with a checkpoint; a step that takes longer than seconds, and an evaluation, are given
 * up, and done again by the run that goes on. It computes the same bits as one that was never stopped: all it needs are the
 * checkpoint's weights, moments and counters, since everything random is a function of (seed, purpose, step).
 * @throws {UserError} on a loss or gradient that is not finite, naming the step and its rows; checkpoints stay as they are
 */
export const trainAdapter = async (job: TrainingJob): Promise<TrainingResult> => {
  checkPositions(job);
  const opened: { dispose(): void }[] = [];
  try {
    const trainer = await openTrainer(job, (resource) => {
      opened.push(resource);
      return resource;
    });
    const { state, saves } = await shareStart(
      trainer,
      startingState(
        job.resumeFrom?.state,
        trainer.lossScaling && startingLossScale(trainer.lossScaling),
      ),
    );
    const shared = { ...trainer, saves };
    return await finish(shared, await trainLoop(shared, state));
  } finally {
    for (const resource of opened) resource.dispose();
  }
};

/**
 * Opens the sessions of a run, and puts what its checkpoint holds into the store.
 *
 * @param keep sees each session at once, so that its owner can dispose of it whatever comes
 * @throws {UserError} if the run does not stand where its checkpoint says, or has other parameters
 */
const openTrainer = async (
  job: TrainingJob,
  keep: <T extends { dispose(): void }>(resource: T) => T,
): Promise<Trainer> => {
  const { weights, adapter, store, data, settings, resumeFrom } = job;
  const plan = planTraining(settings, data.train.length);
  const { totalSteps } = plan;
  const { train: batches, evaluation } = planRunBatches(settings, data, adapter);
  const seed = settings.seed ?? DEFAULT_SEED;
  const positionAt = (step: number): RunPosition => ({
    seed,
    step,
    ...batches.positionAfter(step),
  });
  if (resumeFrom) requirePosition(resumeFrom, { ...positionAt(resumeFrom.step), totalSteps });

  const openSession = async (graph: LossSessionOptions): Promise<LossSession> =>
    keep(await LossSession.create(graph, weights, store, job.plan));
  const session = job.session ? keep(job.session) : await openSession(trainingGraph(job));
  const evaluator = evaluation && {
    session: await openSession(evaluationGraph(job, evaluation)),
    options: evaluation,
  };
  const optimizer = keep(
    await AdamW.create(
      store,
      { ...defaultAdamW, ...settings.adam, weightDecay: settings.weightDecay },
      job.plan,
    ),
  );
  const { pruning: sparsity } = adapter;
  const sparsifier = sparsity && createSparsifier(sparsity, store, totalSteps);
  // Where the state is shared out, shareStart restores it.
  if (resumeFrom && !store.shards) await restoreParameters(resumeFrom, store, job.readWeights);
  const { runFolder, writeWeights } = job;
  const { group = soloGroup } = job;
  const started = performance.now();
  const secondsBefore = resumeFrom?.state.trainSeconds ?? 0;
  return {
    job,
    settings,
    plan,
    schedule: scheduleOf(settings, plan),
    batches,
    store,
    session,
    optimizer,
    sparsifier,
    lossScaling:
      job.plan.precision === "fp16" ? (settings.lossScaling ?? defaultLossScaling) : undefined,
    group,
    evaluator,
    saves: runFolder !== undefined,
    checkpoints:
      runFolder === undefined
        ? undefined
        : { runFolder, settings, plan, store, writeWeights, positionAt },
    trainSeconds: () => secondsBefore + (performance.now() - started) / 1000,
  };
};

/** Where all processes begin: at the state, the values and the moments of process 0. */
const shareStart = async (
  { group, store, job, checkpoints }: Trainer,
  state: TrainingState,
): Promise<{ readonly state: TrainingState; readonly saves: boolean }> => {
  const own = { state, saves: checkpoints !== undefined };
  if (group.size === 1) return own;
  const [first = own] = await group.gather(own);
  if (!store.shards) await shareTensors(group, store, ["values", "m", "v"]);
  else if (first.state.savedStep !== undefined)
    await restoreShards(store.shards, job.resumeFrom, job.readWeights);
  return first;
};

/** Gives every process the flat buffers of process 0, and its frozen parameters. */
const shareTensors = async (
  group: ProcessGroup,
  { device, groups, values, gradients }: ParameterStore,
  names: readonly ("values" | "m" | "v")[],
): Promise<void> => {
  if (group.size === 1) return;
  const frozen = [...values].flatMap(([name, tensor]) => (gradients.has(name) ? [] : [tensor]));
  for (const tensor of [...groups.flatMap((each) => names.map((name) => each[name])), ...frozen]) {
    const elements = device.read(tensor);
    await group.broadcast(elements, 0);
    if (device.place !== "host") device.write(tensor, elements);
  }
};

/** Gives every process the values of process 0, which may have loaded them from its best checkpoint. */
const shareResult = async (group: ProcessGroup, store: ParameterStore): Promise<void> => {
  if (store.shards) await store.shards.finish();
  else await shareTensors(group, store, ["values"]);
};

/** The signal that ends the run, as all processes see it between two updates: whichever of them it has reached. */
const askToStop = async ({ group, job }: Trainer): Promise<InterruptName | undefined> => {
  const own = job.interrupt?.requested;
  if (group.size === 1) return own;
  return (await group.gather(own ?? null)).find((name) => name !== null) ?? undefined;
};

/** What the loop has come to. */
interface Reached {
  readonly state: TrainingState;
  readonly interrupted: InterruptName | undefined;
}

/** The updates that are left, with their evaluations and checkpoints, until all are done, or early stopping or a signal ends them. */
const trainLoop = async (trainer: Trainer, start: TrainingState): Promise<Reached> => {
  const { job, plan, settings, schedule, group } = trainer;
  const { interrupt, events } = job;
  // What one process gives up, the others would wait for.
  const hurry = group.size === 1 ? interrupt?.hurry : undefined;
  let state = awaitsEvaluation(trainer, start) ? await evaluateAndSave(trainer, start) : start;
  // A run that had stopped early before it was killed has nothing left to train.
  const stopsEarly = (): boolean => shouldStopEarly(state.evaluations, settings.earlyStopPatience);
  let stop = await askToStop(trainer);
  while (state.step < plan.totalSteps && stop === undefined && !stopsEarly()) {
    const updated = await unlessInterrupted(job, () => runUpdate(trainer, state, hurry));
    if (!updated) break;
    const { metrics, lossScale, skipped } = updated;
    const at = {
      epoch: metrics.step / plan.stepsPerEpoch,
      nextLearningRate: learningRate(schedule, metrics.step - (lossScale?.skipped ?? 0)),
      lossScale,
    };
    state = afterUpdate(state, metrics, at);
    await events.step(metrics, at.epoch, at.nextLearningRate);
    if (skipped !== undefined) events.skipped(skipped);
    if (isEvaluationStep(plan, state.step)) state = await evaluateAndSave(trainer, state);
    stop = await askToStop(trainer);
  }
  return { state, interrupted: group.size === 1 ? interrupt?.requested : stop };
};

/** What `work` comes to; undefined where the first signal has ended it. @throws what else ends it */
const unlessInterrupted = async <T>(
  { interrupt }: TrainingJob,
  work: () => Promise<T>,
): Promise<T | undefined> => {
  try {
    return await work();
  } catch (error) {
    // The second signal wants no saving, either.
    if (!(error instanceof InterruptedError) || interrupt?.abort.aborted) throw error;
    return undefined;
  }
};

/** Whether an evaluation stands between this state and the next update. */
const awaitsEvaluation = ({ plan, evaluator }: Trainer, state: TrainingState): boolean =>
  evaluator !== undefined && isEvaluationStep(plan, state.step) && !isEvaluated(state);

/** The state after an evaluation, saved; the same state where a signal ends the evaluation. */
const evaluateAndSave = async (trainer: Trainer, state: TrainingState): Promise<TrainingState> => {
  const { interrupt } = trainer.job;
  const work = (): Promise<TrainingState> => evaluate(trainer, state);
  const evaluated = await unlessInterrupted(trainer.job, () =>
    interrupt ? interrupt.during(activities.validating, work) : work(),
  );
  // What an interruption has saved of this step knows no evaluation yet.
  return evaluated ? save(trainer, { ...evaluated, savedStep: undefined }) : state;
};

/** The state after an evaluation on the validation rows. */
const evaluate = async (
  { job, plan, evaluator, group }: Trainer,
  state: TrainingState,
): Promise<TrainingState> => {
  if (!evaluator) return state;
  const { step } = state;
  const { pruning: sparsity } = job.adapter;
  const { rows, batch } = evaluator.options;
  const epoch = step / plan.stepsPerEpoch;
  const begun = performance.now();
  const { loss, classified: said } = await evaluateLoss(evaluator.session, evaluator.options, {
    signal: group.size === 1 ? job.interrupt?.stop : undefined,
    group,
    onProgress: (done) => {
      job.events.validating(done, rows.length);
    },
  });
  const seconds = (performance.now() - begun) / 1000;
  const counts = isPruned(sparsity, step, plan.totalSteps);
  const classified = said && { ...said, classes: job.data.labels?.length ?? 0 };
  const figures = { loss, ...(classified && classFigures(classified)) };
  const metric = job.settings.metricForBest;
  const after = afterEvaluation(state, figures, { epoch, counts, metric });
  const best = after.evaluations.best !== state.evaluations.best;
  const batches = Math.ceil(rows.length / batch);
  await job.events.evaluation(
    { step, figures, classified, best, seconds, rows: rows.length, batches },
    epoch,
  );
  return after;
};

/** The state once it is saved, unless it is already. */
const save = async (
  trainer: Trainer,
  state: TrainingState,
  { lastIsResult = false }: { readonly lastIsResult?: boolean } = {},
): Promise<TrainingState> => {
  const { job, plan, checkpoints, store } = trainer;
  if (state.savedStep === state.step) return state;
  const saved = { ...state, savedStep: state.step };
  if (!checkpoints) {
    if (!trainer.saves) return state;
    await helpSaving(store);
    return saved;
  }
  await job.events.saving();
  await saveCheckpoint(checkpoints, state, {
    trainSeconds: trainer.trainSeconds(),
    isPlanned:
      lastIsResult || (isEvaluationStep(plan, state.step) && !awaitsEvaluation(trainer, state)),
  });
  return saved;
};

/** Saves what no evaluation has saved, and loads the best checkpoint. */
const finish = async (
  trainer: Trainer,
  { state: reached, interrupted }: Reached,
): Promise<TrainingResult> => {
  const { job, plan, checkpoints, group, store } = trainer;
  const { best } = reached.evaluations;
  // Without evaluations there is no best checkpoint: the last weights are the result, and are not thrown away.
  const lastIsResult = !interrupted && best === undefined;
  // What a signal finds before the first update, a new run has, too.
  const isWorthSaving = interrupted && (reached.step > 0 || plan.totalSteps === 0);
  const state =
    lastIsResult || isWorthSaving ? await save(trainer, reached, { lastIsResult }) : reached;
  if (!interrupted && checkpoints)
    await removeUnplannedCheckpoints(checkpoints, lastIsResult ? state.step : undefined);
  const trainSeconds = trainer.trainSeconds();
  const reload = !interrupted && best !== undefined && checkpoints !== undefined;
  // The result is whole in every process: they share out what is answered with it.
  if (!interrupted) await store.shards?.holdValues();
  if (reload && best.step !== state.step) await loadBest(job, checkpoints.runFolder, best.step);
  if (!interrupted) await shareResult(group, store);
  return {
    steps: state.step,
    totalSteps: plan.totalSteps,
    trainSeconds,
    meanLoss: state.lossSum / Math.max(1, state.step),
    evaluations: state.evaluations,
    interrupted,
    isSaved: state.savedStep === state.step,
    inEvaluation: awaitsEvaluation(trainer, state),
    bestCheckpoint: reload ? checkpointName(best.step) : undefined,
  };
};

/** @throws {UserError} if virtual tokens push the longest row beyond the positions that the model was made for */
const checkPositions = ({ adapter, model, data }: TrainingJob): void => {
  const count = adapter.virtual?.count ?? 0;
  if (count === 0) return;
  const rows = [...data.train, ...(data.validation ?? [])];
  const longest = rows.reduce((most, { ids }) => Math.max(most, ids.length), 0);
  if (count + longest > model.maxPositionEmbeddings)
    throw new UserError(
      `Cannot put --virtual_tokens=${String(count)} in front of rows of up to ${String(longest)} tokens: expected at most the model's ${String(model.maxPositionEmbeddings)} positions`,
      "Choose fewer virtual tokens, or shorter rows",
    );
};

const loadBest = async (job: TrainingJob, runFolder: string, step: number): Promise<void> => {
  const { folder } = await readCheckpoint(`${runFolder}/${checkpointName(step)}`, "sizes");
  await job.readWeights(folder);
};
