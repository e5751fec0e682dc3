import { countNgrams } from "./ngrams.js";
import { stripSpace } from "./python-text.js";

/** A share of distinct n-grams over texts, and what it were without each of them. */
export interface DistinctScore {
  /** Undefined where no text has an n-gram. */
  readonly value: number | undefined;
  /** The share over all texts but this one; NaN where the others have no n-gram. */
  readonly without: Float64Array;
}

/**
 * Distinct n-grams over all n-grams of the texts, split at single spaces: an empty text is one empty word.
 *
 * It falls as texts grow more, so only files of like length compare.
 * Source: Li et al., "A Diversity-Promoting Objective Function for Neural Conversation Models", NAACL 2016; eval_distinct of the
 * original's convai2_eval.py.
 */
export const distinctScore = (texts: readonly string[], n: number): DistinctScore => {
  /** By n-gram: the one text that has it, or -1 if several have. */
  const owners = new Map<string, number>();
  const sizes = texts.map((text, i) => {
    let size = 0;
    for (const [ngram, count] of countNgrams(stripSpace(text).split(" "), n)) {
      size += count;
      owners.set(ngram, owners.has(ngram) ? -1 : i);
    }
    return size;
  });
  const own = new Float64Array(texts.length);
  for (const owner of owners.values()) if (owner >= 0) own[owner] = (own[owner] ?? 0) + 1;
  const total = sizes.reduce((sum, size) => sum + size, 0);
  return {
    value: total === 0 ? undefined : owners.size / total,
    without: own.map((count, i) => (owners.size - count) / (total - (sizes[i] ?? 0))),
  };
};

/** Distinct n-grams over all n-grams, see distinctScore; undefined where there is none. */
export const distinct = (texts: readonly string[], n: number): number | undefined =>
  distinctScore(texts, n).value;
