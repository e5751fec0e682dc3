import type { ProcessGroup } from "../distributed/process-group.js";
import type { Planned } from "../runtime/compute-plan.js";
import { join } from "node:path";
import type { Adapter } from "../peft/adapter.js";
import { hfLog } from "../report/hf-log.js";
import { openMetrics } from "../report/metrics.js";
import type { OutputFile } from "../report/output-jsonl.js";
import type { ProgressUi } from "../report/progress.js";
import type { RunFacts } from "../report/run-json.js";
import {
  continueTensorBoard,
  openTensorBoard,
  type TensorBoardWriter,
} from "../report/tensorboard.js";
import { currentMemoryBytes } from "../runtime/memory.js";
import { classIntervals } from "../score/classification.js";
import type { Checkpoint } from "../train/checkpoint.js";
import type { InterruptSignal } from "../train/interrupt.js";
import type { BaseModel } from "../train/load-base.js";
import type { LossSession } from "../train/loss-session.js";
import type { ParameterStore } from "../train/parameters.js";
import { trainAdapter, type TrainingEvents, type TrainingResult } from "../train/train-adapter.js";
import { countEvaluations } from "../train/schedule.js";
import { readTrainedWeights, writeTrainedWeights } from "../train/trained-weights.js";
import type { TrainingData } from "../train/loaded-data.js";
import { planTraining, type TrainingSettings } from "../train/training-settings.js";
import type { Classified } from "../train/class-figures.js";
import { evaluationNames, isEvaluated, type EvaluationFigures } from "../train/training-state.js";

/** A training with all that its reports say. */
export interface ReportedTraining {
  readonly base: BaseModel;
  readonly adapter: Adapter;
  readonly store: ParameterStore;
  readonly data: TrainingData;
  readonly options: TrainingSettings &
    Planned & {
      readonly logSteps: number;
      readonly logFormat: "plain" | "hf";
      readonly maxShardBytes: number;
      /** Nothing is saved. */
      readonly measuresOnly?: boolean;
    };
  readonly record: { readonly originalFlags: OutputFile["flags"] };
  readonly facts: Pick<RunFacts, "startedAt">;
  /** The training's session, where a check has made it already. */
  readonly session: LossSession | undefined;
  readonly runFolder: string;
  /** The processes that train together. */
  readonly group: ProcessGroup;
  /** The checkpoint to go on from. */
  readonly resumeFrom: Checkpoint | undefined;
  readonly ui: ProgressUi;
  readonly interrupt: InterruptSignal;
}

const openBoard = async ({
  base,
  record,
  facts: { startedAt },
  runFolder,
  resumeFrom,
}: ReportedTraining): Promise<TensorBoardWriter> => {
  const known =
    resumeFrom &&
    (await continueTensorBoard(runFolder, resumeFrom.step, {
      evaluated: isEvaluated(resumeFrom.state),
    }));
  if (known) return known;
  const board = await openTensorBoard(runFolder, startedAt);
  const texts = { args: record.originalFlags, model_config: base.folder.rawConfig };
  for (const [name, json] of Object.entries(texts))
    await board.text(name, `\`\`\`\n${JSON.stringify(json, undefined, 2)}\n\`\`\``, 0, startedAt);
  return board;
};

/** A forward pass is about a third of an update, which goes back as well. */
const forwardShare = 1 / 3;

/** How many updates a validation takes, by its tokens. */
const updatesOfValidation = (
  { train, validation = [] }: TrainingData,
  { batch, gradAcc }: TrainingSettings,
): number => {
  const tokens = (rows: TrainingData["train"]): number =>
    rows.reduce((sum, { ids }) => sum + ids.length, 0);
  const perUpdate = (tokens(train) / train.length) * Math.min(train.length, batch * gradAcc);
  return (forwardShare * tokens(validation)) / perUpdate;
};

/** eval_accuracy_interval and the like: [low, high]. */
const intervalsOf = (
  classified: Classified,
): Readonly<Record<string, readonly [low: number, high: number]>> =>
  Object.fromEntries(
    Object.entries(classIntervals(classified)).map(([name, { low, high }]) => [
      `eval_${name}_interval`,
      [low, high],
    ]),
  );

/** `  accuracy 0.9128, f1 0.9145, ...` below the line of an evaluation. */
const figuresLine = (figures: EvaluationFigures): string =>
  `  ${Object.entries<number>({ ...figures })
    .filter(([name]) => name !== "loss")
    .map(([name, value]) => `${name} ${value.toFixed(4)}`)
    .join(", ")}`;

/** Trains with metrics.jsonl, TensorBoard and the terminal looking on. A run that goes on goes on in the same files. */
export const trainWithReports = async (job: ReportedTraining): Promise<TrainingResult> => {
  const { base, adapter, store, data, options, runFolder, resumeFrom, ui, interrupt } = job;
  const plan = planTraining(options, data.train.length);
  const start = resumeFrom?.step ?? 0;
  const metrics = await openMetrics(join(runFolder, "metrics.jsonl"), { afterStep: start });
  const board = await openBoard(job);
  const progress = ui.training(plan.totalSteps, {
    start,
    logSteps: options.logSteps,
    printsLines: options.logFormat === "plain",
    validation: {
      from: (step) => countEvaluations(plan) - countEvaluations(plan, Math.max(0, step - 1)),
      updatesEach: updatesOfValidation(data, options),
    },
  });
  const log = options.logFormat === "hf" ? hfLog(options.logSteps) : undefined;
  const print = (text: string | undefined): void => {
    if (text !== undefined) ui.line(text);
  };
  const events: TrainingEvents = {
    async step(step, epoch, nextLearningRate) {
      await metrics.append(step);
      await board.log(
        { loss: step.loss, grad_norm: step.gradNorm, learning_rate: nextLearningRate, epoch },
        step.step,
        new Date(),
      );
      progress.step({
        step: step.step,
        loss: step.loss,
        learningRate: step.lr,
        gradNorm: step.gradNorm,
        tokensPerSecond: (1000 * step.tokens) / step.stepMs,
        memoryBytes: currentMemoryBytes(),
      });
      print(log?.step({ ...step, nextLearningRate, epoch }));
    },
    skipped(message) {
      ui.line(message);
    },
    validating(rows, total) {
      progress.validating(rows, total);
    },
    async evaluation({ step, figures, classified, best, seconds, rows, batches }, epoch) {
      const { loss } = figures;
      const named = evaluationNames(figures);
      if (classified) await metrics.evaluation(step, { ...named, ...intervalsOf(classified) });
      await board.log(
        {
          ...named,
          eval_runtime: seconds,
          eval_samples_per_second: rows / seconds,
          eval_steps_per_second: batches / seconds,
          epoch,
        },
        step,
        new Date(),
      );
      progress.evaluation({ step, loss, best });
      if (classified && !log) ui.line(figuresLine(figures));
      print(log?.evaluation({ figures: named, seconds, rows, batches, epoch }));
    },
    async saving() {
      await metrics.flush();
      await board.flush();
    },
  };
  try {
    const result = await trainAdapter({
      model: base.folder.model,
      weights: base.weights,
      adapter,
      store,
      data,
      settings: options,
      plan: options.plan,
      session: job.session,
      runFolder: options.measuresOnly ? undefined : runFolder,
      resumeFrom,
      writeWeights: (folder) => writeTrainedWeights(folder, base, adapter, store, options),
      readWeights: (folder) => readTrainedWeights(folder, base, adapter, store),
      events,
      interrupt,
      group: job.group,
    });
    if (result.interrupted) return result;
    const { trainSeconds, steps, totalSteps, meanLoss } = result;
    const epoch = steps / plan.stepsPerEpoch;
    await board.log(
      {
        train_runtime: trainSeconds,
        train_samples_per_second: (steps * options.batch * options.gradAcc) / trainSeconds,
        train_steps_per_second: steps / trainSeconds,
        train_loss: meanLoss,
        epoch,
      },
      steps,
      new Date(),
    );
    // The trainer counts what was planned, also where the run has stopped early.
    const samples =
      options.maxSteps === undefined
        ? data.train.length * options.epoch
        : totalSteps * options.batch * options.gradAcc;
    print(log?.end({ seconds: trainSeconds, samples, steps: totalSteps, meanLoss, epoch }));
    return result;
  } finally {
    progress.done();
    await metrics.close();
    await board.close();
  }
};
