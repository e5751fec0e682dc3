/** How the labels of a classifier compare with the true ones; all are shares but counts and the correlation. */
export interface ClassificationScore {
  readonly accuracy: number;
  /** F1 of each label that occurs in either list. */
  readonly perLabel: ReadonlyMap<string, LabelScore>;
  /** The mean of the labels' F1, each label weighing the same. */
  readonly macroF1: number;
  /** The mean of the labels' F1, each true row weighing the same. */
  readonly weightedF1: number;
  /** Matthews' correlation of all labels, from -1 to 1; 0 where either list has one label only. */
  readonly matthews: number;
}

/** One label against all others. */
export interface LabelScore {
  /** Rows that truly have it. */
  readonly rows: number;
  readonly precision: number;
  readonly recall: number;
  readonly f1: number;
}

/** A share of nothing is 0, as in scikit-learn. */
const shareOf = (part: number, all: number): number => (all === 0 ? 0 : part / all);

const countLabels = (labels: readonly string[]): ReadonlyMap<string, number> => {
  const counts = new Map<string, number>();
  for (const label of labels) counts.set(label, (counts.get(label) ?? 0) + 1);
  return counts;
};

/**
 * Accuracy, F1 and Matthews' correlation of predicted labels; any text is a label.
 *
 * A label that was never predicted, or never true, has 0 for what cannot be reckoned. As scikit-learn's accuracy_score, f1_score and
 * matthews_corrcoef, which Hugging Face evaluate shows.
 * Source: Matthews, BBA 1975; of several labels, Gorodkin, Computational Biology and Chemistry 2004.
 * @throws {RangeError} if the lists differ in length, or are empty
 */
export const classificationScore = (
  predicted: readonly string[],
  truth: readonly string[],
): ClassificationScore => {
  const rows = truth.length;
  if (predicted.length !== rows || rows === 0)
    throw new RangeError(
      `found ${String(predicted.length)} predicted and ${String(rows)} true labels, expected as many of both, and some`,
    );
  const predictedCounts = countLabels(predicted);
  const trueCounts = countLabels(truth);
  const rightCounts = countLabels(truth.filter((label, i) => label === predicted[i]));
  const right = [...rightCounts.values()].reduce((sum, count) => sum + count, 0);
  const labels = [...new Set([...truth, ...predicted])].sort();
  const perLabel = new Map(
    labels.map((label): [string, LabelScore] => {
      const hits = rightCounts.get(label) ?? 0;
      const [said, there] = [predictedCounts.get(label) ?? 0, trueCounts.get(label) ?? 0];
      const score = {
        rows: there,
        precision: shareOf(hits, said),
        recall: shareOf(hits, there),
        f1: shareOf(2 * hits, said + there),
      };
      return [label, score];
    }),
  );
  const scores = [...perLabel.values()];
  const products = (a: ReadonlyMap<string, number>, b: ReadonlyMap<string, number>): number =>
    labels.reduce((sum, label) => sum + (a.get(label) ?? 0) * (b.get(label) ?? 0), 0);
  const spread =
    (rows ** 2 - products(predictedCounts, predictedCounts)) *
    (rows ** 2 - products(trueCounts, trueCounts));
  return {
    accuracy: right / rows,
    perLabel,
    macroF1: scores.reduce((sum, { f1 }) => sum + f1, 0) / scores.length,
    weightedF1: scores.reduce((sum, { f1, rows: there }) => sum + f1 * there, 0) / rows,
    matthews: shareOf(right * rows - products(predictedCounts, trueCounts), Math.sqrt(spread)),
  };
};
