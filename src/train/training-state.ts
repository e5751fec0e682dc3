import type { StepMetrics } from "../report/metrics.js";
import { noEvaluations, recordEvaluation, type EvaluationRecord } from "./early-stop.js";
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
  /** The step of the newest checkpoint; undefined before the first one. */
  readonly savedStep: number | undefined;
}

/** The state at a run's start, or at the checkpoint that it goes on from. */
export const startingState = (checkpoint: TrainerState | undefined): TrainingState => {
  const logHistory = checkpoint?.logHistory ?? [];
  return {
    step: checkpoint?.step ?? 0,
    tokensSeen: checkpoint?.tokensSeen ?? 0,
    lossSum: logHistory.reduce((sum, { loss }) => sum + (loss ?? 0), 0),
    evaluations: checkpoint?.evaluations ?? noEvaluations,
    logHistory,
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

/** @param at.nextLearningRate the rate after the update, which is what transformers logs with it */
export const afterUpdate = (
  state: TrainingState,
  { step, loss, gradNorm, tokens }: StepMetrics,
  at: { readonly epoch: number; readonly nextLearningRate: number },
): TrainingState => ({
  ...state,
  step,
  tokensSeen: state.tokensSeen + tokens,
  lossSum: state.lossSum + loss,
  logHistory: [
    ...state.logHistory,
    { epoch: at.epoch, grad_norm: gradNorm, learning_rate: at.nextLearningRate, loss, step },
  ],
});

/** @param at.counts whether the evaluated weights may be the run's result */
export const afterEvaluation = (
  state: TrainingState,
  evalLoss: number,
  at: { readonly epoch: number; readonly counts: boolean },
): TrainingState => {
  const { step, evaluations, logHistory } = state;
  return {
    ...state,
    evaluations: at.counts ? recordEvaluation(evaluations, { step, evalLoss }) : evaluations,
    logHistory: [...logHistory, { epoch: at.epoch, eval_loss: evalLoss, step }],
  };
};
