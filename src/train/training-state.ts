import type { StepMetrics } from "../report/metrics.js";
import type { BestMetric } from "./class-figures.js";
import { noEvaluations, recordEvaluation, type EvaluationRecord } from "./early-stop.js";
import type { LossScale } from "./loss-scaler.js";
import type { LogEntry, TrainerState } from "./trainer-state.js";

/** Where a run stands between two updates: beside weights and moments, all that changes. */
export interface TrainingState {
  /** Updates done. */
  readonly step: number;
  /** Real tokens trained on so far. */
  readonly tokensSeen: number;
  /** Of the updates' losses, added up in their order, so that a resumed run has the bits of an uninterrupted one. */
  readonly lossSum: number;
  readonly evaluations: EvaluationRecord;
  readonly logHistory: readonly LogEntry[];
  /** In fp16: how the next update scales the loss. */
  readonly lossScale?: LossScale | undefined;
  /** The step of the newest checkpoint; undefined before the first one. */
  readonly savedStep: number | undefined;
}

/**
 * The state at a run's start, or at the checkpoint that it goes on from.
 *
 * @param lossScale of a run's start in fp16
 */
export const startingState = (
  checkpoint: TrainerState | undefined,
  lossScale?: LossScale,
): TrainingState => {
  const logHistory = checkpoint?.logHistory ?? [];
  return {
    step: checkpoint?.step ?? 0,
    tokensSeen: checkpoint?.tokensSeen ?? 0,
    lossSum: logHistory.reduce((sum, { loss }) => sum + (loss ?? 0), 0),
    evaluations: checkpoint?.evaluations ?? noEvaluations,
    logHistory,
    lossScale: lossScale && (checkpoint?.lossScale ?? lossScale),
    savedStep: checkpoint?.step,
  };
};

/**
 * Whether the weights as they stand have been evaluated. Where they have not although the plan asks for it, a signal has
 * ended the evaluation, and it is done again.
 */
export const isEvaluated = ({
  step,
  logHistory,
}: Pick<TrainingState, "step" | "logHistory">): boolean =>
  logHistory.some((entry) => entry.step === step && "eval_loss" in entry);

/** What JSON has of a number: null where it is not finite, as in updates that are skipped. */
const finiteOf = (number: number): number | null => (Number.isFinite(number) ? number : null);

/** @param at.nextLearningRate the rate after the update, which is what transformers logs with it */
export const afterUpdate = (
  state: TrainingState,
  { step, loss, gradNorm, tokens }: StepMetrics,
  at: {
    readonly epoch: number;
    readonly nextLearningRate: number;
    readonly lossScale?: LossScale | undefined;
  },
): TrainingState => ({
  ...state,
  step,
  tokensSeen: state.tokensSeen + tokens,
  lossSum: state.lossSum + (finiteOf(loss) ?? 0),
  lossScale: at.lossScale,
  logHistory: [
    ...state.logHistory,
    {
      epoch: at.epoch,
      grad_norm: finiteOf(gradNorm),
      learning_rate: at.nextLearningRate,
      loss: finiteOf(loss),
      step,
    },
  ],
});

/** What an evaluation on the validation rows has found: the loss, and of a classifier its figures. */
export interface EvaluationFigures extends Partial<Readonly<Record<BestMetric, number>>> {
  readonly loss: number;
}

/** The figures by transformers' names: eval_loss, eval_accuracy, ... */
export const evaluationNames = (figures: EvaluationFigures): Readonly<Record<string, number>> =>
  Object.fromEntries(Object.entries(figures).map(([name, value]) => [`eval_${name}`, value]));

/**
 * @param at.counts whether the evaluated weights may be the run's result
 * @param at.metric what chooses the best; default: the loss
 */
export const afterEvaluation = (
  state: TrainingState,
  figures: EvaluationFigures,
  at: {
    readonly epoch: number;
    readonly counts: boolean;
    readonly metric?: BestMetric | undefined;
  },
): TrainingState => {
  const { step, evaluations, logHistory } = state;
  const { metric: name = "loss" } = at;
  const metric = figures[name] ?? NaN;
  return {
    ...state,
    evaluations: at.counts ? recordEvaluation(evaluations, { step, metric }, name) : evaluations,
    logHistory: [...logHistory, { epoch: at.epoch, ...evaluationNames(figures), step }],
  };
};
