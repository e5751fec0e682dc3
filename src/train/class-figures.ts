import { classificationScore } from "../metrics/classification.js";

/** The figures of a classifier that may choose the best checkpoint, by the names of transformers' scripts without `eval_`. */
export const classFigureNames = ["accuracy", "f1", "f1_macro", "mcc"] as const;
/** A figure of a classifier; see classFigureNames. */
export type ClassFigureName = (typeof classFigureNames)[number];

/** The values of --metric_for_best. */
export const bestMetrics = ["loss", ...classFigureNames] as const;
/** A value of --metric_for_best. */
export type BestMetric = (typeof bestMetrics)[number];

/** What a classifier said of rows, and what is true of them: numbers of classes. */
export interface Classified {
  readonly predicted: readonly number[];
  readonly truth: readonly number[];
  /** How many classes there are. */
  readonly classes: number;
}

/** The place of the largest of a row's logits [classes]; of equal ones the first. */
export const likeliestClass = (
  logits: ArrayLike<number>,
  start: number,
  classes: number,
): number => {
  let best = 0;
  for (let i = 1; i < classes; i++)
    if ((logits[start + i] ?? 0) > (logits[start + best] ?? 0)) best = i;
  return best;
};

/**
 * The figures of a classifier, as shares: of two classes f1 is that of class 1, of more it is f1_macro, the mean over the classes that
 * occur; mcc is Matthews' correlation, from -1 to 1.
 */
export const classFigures = ({
  predicted,
  truth,
  classes,
}: Classified): Readonly<Record<ClassFigureName, number>> => {
  const { accuracy, perLabel, macroF1, matthews } = classificationScore(
    predicted.map(String),
    truth.map(String),
  );
  const f1 = classes === 2 ? (perLabel.get("1")?.f1 ?? 0) : macroF1;
  return { accuracy, f1, f1_macro: macroF1, mcc: matthews };
};
