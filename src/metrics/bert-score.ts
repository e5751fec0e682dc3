/** A text as an encoder sees it: a vector a token. */
export interface EncodedText {
  /** [tokens x width], token by token. */
  readonly vectors: Float32Array;
  readonly width: number;
  /** What each token weighs: 1, and 0 for the tokens that mark the ends. */
  readonly weights: ArrayLike<number>;
}

/** BERTScore of one pair; cosines, which may be negative. */
export interface BertScore {
  readonly precision: number;
  readonly recall: number;
  readonly f1: number;
}

/** Vectors of length 1; those of length 0 stay. */
const normalize = ({ vectors, width }: EncodedText): readonly Float64Array[] =>
  Array.from({ length: vectors.length / width }, (_, i) => {
    const vector = Float64Array.from(vectors.subarray(i * width, (i + 1) * width));
    const norm = Math.sqrt(vector.reduce((sum, x) => sum + x * x, 0));
    return norm === 0 ? vector : vector.map((x) => x / norm);
  });

const cosine = (a: Float64Array, b: Float64Array): number => {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number);
  return sum;
};

const weightedMean = (values: readonly number[], weights: ArrayLike<number>): number => {
  let [sum, total] = [0, 0];
  for (const [i, value] of values.entries()) {
    sum += value * (weights[i] ?? 0);
    total += weights[i] ?? 0;
  }
  return sum / total;
};

/** Whether a text is shorter than others that are matched at the same time. */
export interface Padded {
  readonly prediction: boolean;
  readonly reference: boolean;
}

/**
 * BERTScore of one prediction and one reference: each token's best cosine in the other text, averaged over the prediction
 * (precision) and over the reference (recall), and their harmonic mean. Without baseline.
 *
 * As in bert-score 0.3.13 (greedy_cos_idf), tokens of weight 0 can be best as well, and so can the padding of a text that is `padded`,
 * with a cosine of 0: it matters where all others are negative. A text of no weight has 0.
 * Source: Zhang et al., "BERTScore: Evaluating Text Generation with BERT", ICLR 2020.
 */
export const bertScoreOfPair = (
  prediction: EncodedText,
  reference: EncodedText,
  padded: Padded = { prediction: false, reference: false },
): BertScore => {
  const [left, right] = [normalize(prediction), normalize(reference)];
  const cosines = left.map((a) => right.map((b) => cosine(a, b)));
  const least = (isPadded: boolean): number => (isPadded ? 0 : -Infinity);
  const precision = weightedMean(
    cosines.map((row) => Math.max(least(padded.reference), ...row)),
    prediction.weights,
  );
  const recall = weightedMean(
    right.map((_, j) =>
      Math.max(least(padded.prediction), ...cosines.map((row) => row[j] ?? -Infinity)),
    ),
    reference.weights,
  );
  const f1 = (2 * precision * recall) / (precision + recall);
  return Number.isFinite(f1) ? { precision, recall, f1 } : { precision: 0, recall: 0, f1: 0 };
};

/** How many pairs bert-score matches at a time, of the whole list in its order. */
export const bertBatch = 64;

/** Scores of pairs that are matched at the same time, each padded to the longest one. */
export const bertScoresOfBatch = (
  pairs: readonly Readonly<Record<keyof Padded, EncodedText>>[],
): readonly BertScore[] => {
  const longest = (side: keyof Padded): number =>
    Math.max(...pairs.map((pair) => pair[side].weights.length));
  const [predictions, references] = [longest("prediction"), longest("reference")];
  return pairs.map(({ prediction, reference }) =>
    bertScoreOfPair(prediction, reference, {
      prediction: prediction.weights.length < predictions,
      reference: reference.weights.length < references,
    }),
  );
};

/** BERTScore against several references: the highest of each of the three figures, whichever reference has it, as in bert-score 0.3.13. */
export const bestBertScore = (scores: readonly BertScore[]): BertScore => {
  const best = (figure: keyof BertScore): number =>
    Math.max(...scores.map((score) => score[figure]));
  return { precision: best("precision"), recall: best("recall"), f1: best("f1") };
};
