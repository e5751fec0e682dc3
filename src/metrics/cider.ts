import { tokenize13a } from "./bleu.js";
import { countNgrams } from "./ngrams.js";
import { meanOf, type Pair } from "./pair.js";

const maxOrder = 4;
const sigma = 6;

/** n-grams with what they weigh, for one n. */
interface Weighed {
  readonly weights: ReadonlyMap<string, number>;
  readonly norm: number;
}

interface WeighedText {
  /** For n = 1 to 4. */
  readonly orders: readonly Weighed[];
  /** pycocoevalcap counts the bigrams. */
  readonly length: number;
}

type Counts = readonly ReadonlyMap<string, number>[];

const countOrders = (tokens: readonly string[]): Counts =>
  Array.from({ length: maxOrder }, (_, i) => countNgrams(tokens, i + 1));

const similarity = (prediction: WeighedText, reference: WeighedText): number => {
  const delta = prediction.length - reference.length;
  const penalty = Math.exp(-(delta ** 2) / (2 * sigma ** 2));
  const cosines = prediction.orders.map(({ weights, norm }, i) => {
    const other = reference.orders[i];
    let product = 0;
    for (const [ngram, weight] of weights) {
      const there = other?.weights.get(ngram) ?? 0;
      product += Math.min(weight, there) * there;
    }
    const norms = norm * (other?.norm ?? 0);
    return norms === 0 ? product : product / norms;
  });
  return meanOf(cosines) * penalty;
};

/** The tokens that CIDEr is reckoned over here: those of mteval-v13a, in lower case. */
export const tokenizeForCider = (text: string): string[] => tokenize13a(text.toLowerCase());

/**
 * CIDEr of each pair: 10 times the mean over n = 1 to 4 of the clipped cosine of tf-idf weights, times exp(-d^2 / 72) for d bigrams more
 * or fewer, and the mean of that over the references. An n-gram's idf is log(pairs / pairs whose references have it).
 *
 * As pycocoevalcap 1.2's CiderScorer has it, over mteval-v13a's tokens in lower case: its own tokenizer is a Java program.
 * Source: Vedantam et al., "CIDEr: Consensus-based Image Description Evaluation", CVPR 2015 (CIDEr-D).
 */
export const ciderPerPair = (pairs: readonly Pair[]): readonly number[] => {
  const counted = pairs.map(({ prediction, references }) => ({
    prediction: countOrders(tokenizeForCider(prediction)),
    references: references.map((reference) => countOrders(tokenizeForCider(reference))),
  }));
  const documents = new Map<string, number>();
  for (const { references } of counted) {
    const ngrams = new Set(
      references.flatMap((orders) => orders.flatMap((counts) => [...counts.keys()])),
    );
    for (const ngram of ngrams) documents.set(ngram, (documents.get(ngram) ?? 0) + 1);
  }
  const logPairs = Math.log(pairs.length);
  const weigh = (orders: Counts): WeighedText => ({
    orders: orders.map((counts) => {
      const weights = new Map(
        [...counts].map(([ngram, count]) => [
          ngram,
          count * (logPairs - Math.log(Math.max(1, documents.get(ngram) ?? 0))),
        ]),
      );
      return { weights, norm: Math.hypot(...weights.values()) };
    }),
    length: [...(orders[1]?.values() ?? [])].reduce((sum, count) => sum + count, 0),
  });
  return counted.map(({ prediction, references }) => {
    if (references.length === 0) throw new RangeError("found no reference, expected at least one");
    const weighed = weigh(prediction);
    return 10 * meanOf(references.map((reference) => similarity(weighed, weigh(reference))));
  });
};

/** CIDEr over all pairs: the mean of ciderPerPair. */
export const cider = (pairs: readonly Pair[]): number => meanOf(ciderPerPair(pairs));
