import { bleuOfTerms, bleuTerms, bleuWidth, type BleuScore } from "../metrics/bleu.js";
import { distinctScore } from "../metrics/distinct.js";
import type { Pair } from "../metrics/pair.js";
import { rougeOfPair } from "../metrics/rouge.js";
import { tokenF1 } from "../metrics/token-f1.js";
import { bootstrapIntervals, jackknifeInterval, valueOfSums, type SumsSample } from "./resample.js";
import type { Figure, FigureFacts } from "./scorer.js";

/** A figure before its interval: what the items add to it, or why there is none. */
export type Draft = Figure | (FigureFacts & { readonly sample: SumsSample });

/** The terms of all items, item by item. */
export const flattenTerms = (terms: readonly ArrayLike<number>[], width: number): Float64Array => {
  const flat = new Float64Array(terms.length * width);
  for (const [i, row] of terms.entries()) flat.set(row, i * width);
  return flat;
};

/** The mean of a value a pair, times `scale`: in percent. */
export const meanDraft = (
  key: string,
  title: string,
  values: readonly number[],
  scale = 100,
): Exclude<Draft, Figure> => ({
  key,
  title,
  sample: {
    kind: "sums",
    terms: Float64Array.from(values),
    width: 1,
    of: ([sum = NaN]) => (scale * sum) / values.length,
  },
});

/** BLEU and its n-gram precisions, which the original calls bleu1 to bleu4. */
export const bleuDrafts = (items: readonly Pair[]): readonly Draft[] => {
  const terms = flattenTerms(items.map(bleuTerms), bleuWidth);
  const draft = (key: string, of: (score: BleuScore) => number): Draft => ({
    key,
    title: key,
    sample: { kind: "sums", terms, width: bleuWidth, of: (sums) => 100 * of(bleuOfTerms(sums)) },
  });
  return [
    draft("bleu", ({ bleu }) => bleu),
    ...([0, 1, 2, 3] as const).map((n) =>
      draft(`bleu${String(n + 1)}`, ({ precisions }) => precisions[n]),
    ),
  ];
};

/** ROUGE-1, ROUGE-2 and ROUGE-L. */
export const rougeDrafts = (items: readonly Pair[]): readonly Draft[] => {
  const scores = items.map(rougeOfPair);
  return [
    meanDraft(
      "rouge1",
      "rouge1",
      scores.map(({ rouge1 }) => rouge1),
    ),
    meanDraft(
      "rouge2",
      "rouge2",
      scores.map(({ rouge2 }) => rouge2),
    ),
    meanDraft(
      "rougel",
      "rougel",
      scores.map(({ rougeL }) => rougeL),
    ),
  ];
};

/** F1 of words. */
export const f1Draft = (items: readonly Pair[]): Draft => meanDraft("f1", "f1", items.map(tokenF1));

/** Distinct n-grams over all n-grams of the predictions. */
export const distinctDraft = (items: readonly Pair[], n: 1 | 2): Draft => {
  const key = `dist${String(n)}`;
  const { value, without } = distinctScore(
    items.map(({ prediction }) => prediction),
    n,
  );
  if (value === undefined)
    return { key, title: key, value: undefined, missing: "no prediction has two words" };
  const values = without.map((share) => 100 * (Number.isNaN(share) ? value : share));
  return {
    key,
    title: key,
    value: 100 * value,
    interval: jackknifeInterval(100 * value, values),
    sample: { kind: "leftOut", values },
  };
};

/** The figures of drafts over the same items, with intervals from the same bootstrap samples. */
export const finishDrafts = (drafts: readonly Draft[]): readonly Figure[] => {
  const sums = drafts.flatMap((draft) => ("value" in draft ? [] : [draft.sample]));
  const intervals = new Map(
    bootstrapIntervals(sums).map((interval, i) => [sums[i], interval] as const),
  );
  return drafts.map((draft): Figure => {
    if ("value" in draft) return draft;
    const { sample } = draft;
    const interval = intervals.get(sample) ?? { low: NaN, high: NaN };
    return { ...draft, value: valueOfSums(sample), interval };
  });
};
