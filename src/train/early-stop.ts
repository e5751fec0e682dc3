/** An evaluation of a run: after update `step`, with this loss. */
export interface Evaluation {
  readonly step: number;
  readonly evalLoss: number;
}

/** What the evaluations so far add up to. */
export interface EvaluationRecord {
  /** The lowest loss; of equal ones the first. */
  readonly best: Evaluation | undefined;
  /** Evaluations in a row that were not lower than the best before them. */
  readonly withoutGain: number;
}

export const noEvaluations: EvaluationRecord = { best: undefined, withoutGain: 0 };

/**
 * The record after one more evaluation. A loss that is not a number is never the best.
 *
 * Source: EarlyStoppingCallback of transformers 4.41.1 with a threshold of 0.
 */
export const recordEvaluation = (
  { best, withoutGain }: EvaluationRecord,
  evaluation: Evaluation,
): EvaluationRecord => {
  const isBetter =
    !Number.isNaN(evaluation.evalLoss) &&
    (best === undefined || evaluation.evalLoss < best.evalLoss);
  return isBetter ? { best: evaluation, withoutGain: 0 } : { best, withoutGain: withoutGain + 1 };
};

/** Whether `--early_stop_patience` is used up; 0 = never. */
export const shouldStopEarly = ({ withoutGain }: EvaluationRecord, patience: number): boolean =>
  patience > 0 && withoutGain >= patience;
