import type { BestMetric } from "./class-figures.js";

/** An evaluation of a run: after update `step`, with this value of what chooses the best: the loss, or --metric_for_best. */
export interface Evaluation {
  readonly step: number;
  readonly metric: number;
}

/** What the evaluations so far add up to. */
export interface EvaluationRecord {
  /** The best evaluation; of equal ones the first. */
  readonly best: Evaluation | undefined;
  /** Evaluations in a row that were not better than the best before them. */
  readonly withoutGain: number;
}

/** The record of a run that has not been evaluated yet. */
export const noEvaluations: EvaluationRecord = { best: undefined, withoutGain: 0 };

/** Whether a value is better than another: a lower loss, and more of all else. NaN is never better. */
export const isBetter = (value: number, best: number, metric: BestMetric = "loss"): boolean =>
  metric === "loss" ? value < best : value > best;

/**
 * The record after one more evaluation. A value that is not a number is never the best.
 *
 * Source: EarlyStoppingCallback of transformers 4.41.1 with a threshold of 0.
 */
export const recordEvaluation = (
  { best, withoutGain }: EvaluationRecord,
  evaluation: Evaluation,
  metric: BestMetric = "loss",
): EvaluationRecord => {
  const isBest =
    !Number.isNaN(evaluation.metric) &&
    (best === undefined || isBetter(evaluation.metric, best.metric, metric));
  return isBest ? { best: evaluation, withoutGain: 0 } : { best, withoutGain: withoutGain + 1 };
};

/** Whether `--early_stop_patience` is used up; 0 = never. */
export const shouldStopEarly = ({ withoutGain }: EvaluationRecord, patience: number): boolean =>
  patience > 0 && withoutGain >= patience;
