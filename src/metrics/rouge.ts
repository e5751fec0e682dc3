import { countCommon, countNgrams, fMeasure } from "./ngrams.js";
import { meanOf, type Pair } from "./pair.js";

/** F measures, as shares. */
export interface RougeScore {
  readonly rouge1: number;
  readonly rouge2: number;
  readonly rougeL: number;
}

/** The tokens of rouge-score 0.1.2 without a stemmer: runs of a to z and 0 to 9 of the text in lower case. Other letters are no tokens. */
export const tokenizeForRouge = (text: string): string[] =>
  text.toLowerCase().match(/[a-z0-9]+/g) ?? [];

const ngramMeasure = (
  prediction: readonly string[],
  reference: readonly string[],
  n: number,
): number => {
  const common = countCommon(countNgrams(reference, n), countNgrams(prediction, n));
  const share = (tokens: readonly string[]): number => common / Math.max(tokens.length - n + 1, 1);
  return fMeasure(share(prediction), share(reference));
};

/** Tokens of the longest subsequence that both have. */
export const longestCommon = (a: readonly string[], b: readonly string[]): number => {
  let above = new Uint32Array(b.length + 1);
  for (const token of a) {
    const row = new Uint32Array(b.length + 1);
    for (let j = 1; j <= b.length; j++)
      row[j] =
        token === b[j - 1] ? (above[j - 1] ?? 0) + 1 : Math.max(above[j] ?? 0, row[j - 1] ?? 0);
    above = row;
  }
  return above[b.length] ?? 0;
};

const subsequenceMeasure = (
  prediction: readonly string[],
  reference: readonly string[],
): number => {
  if (prediction.length === 0 || reference.length === 0) return 0;
  const common = longestCommon(reference, prediction);
  return fMeasure(common / prediction.length, common / reference.length);
};

/** ROUGE of one pair, each with the reference that is best for it. */
export const rougeOfPair = ({ prediction, references }: Pair): RougeScore => {
  if (references.length === 0) throw new RangeError("found no reference, expected at least one");
  const tokens = tokenizeForRouge(prediction);
  const referenceTokens = references.map(tokenizeForRouge);
  const best = (measure: (reference: readonly string[]) => number): number =>
    Math.max(...referenceTokens.map(measure));
  return {
    rouge1: best((reference) => ngramMeasure(tokens, reference, 1)),
    rouge2: best((reference) => ngramMeasure(tokens, reference, 2)),
    rougeL: best((reference) => subsequenceMeasure(tokens, reference)),
  };
};

/**
 * ROUGE-1, -2 and -L: the mean over the pairs of the F measure with the best reference, without a stemmer.
 *
 * rouge-score 0.1.2's aggregator, which Hugging Face evaluate shows, takes the median of 1000 means over random draws of the pairs
 * instead: it differs from the mean by chance, and from run to run.
 * Source: Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", ACL workshop 2004.
 */
export const rouge = (
  pairs: readonly Pair[],
): RougeScore & { readonly perPair: readonly RougeScore[] } => {
  const perPair = pairs.map(rougeOfPair);
  return {
    rouge1: meanOf(perPair.map(({ rouge1 }) => rouge1)),
    rouge2: meanOf(perPair.map(({ rouge2 }) => rouge2)),
    rougeL: meanOf(perPair.map(({ rougeL }) => rougeL)),
    perPair,
  };
};
