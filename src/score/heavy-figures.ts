import { ciderPerPair } from "../metrics/cider.js";
import { openMeteorData } from "../metrics/meteor-data.js";
import { meteor } from "../metrics/meteor.js";
import { nistOfTerms, nistTerms, nistWidth } from "../metrics/nist.js";
import type { Pair } from "../metrics/pair.js";
import type { ScorerOptions } from "./scorer.js";
import { flattenTerms, meanDraft, type Draft } from "./text-figures.js";

/**
 * METEOR, and what there is to say of how it came about: which stages ran, and how far it is nltk's.
 *
 * @throws {UserError} if the folder of --wordnet holds neither WordNet nor Punkt's lists
 */
export const meteorDraft = async (
  items: readonly Pair[],
  { wordnet }: ScorerOptions,
): Promise<{ readonly draft: Draft; readonly remarks: readonly string[] }> => {
  const data = wordnet === undefined ? {} : await openMeteorData(wordnet);
  const { perPair, remarks } = meteor(items, data);
  return { draft: meanDraft("meteor", "meteor", perPair), remarks };
};

/** NIST over all items; the weights of its n-grams are those of all references in every bootstrap sample. */
export const nistDraft = (items: readonly Pair[]): Draft => ({
  key: "NIST",
  title: "NIST",
  isPlain: true,
  sample: {
    kind: "sums",
    terms: flattenTerms(nistTerms(items), nistWidth),
    width: nistWidth,
    of: nistOfTerms,
  },
});

/** CIDEr's mean over the items; the weights of its n-grams are those of all references in every bootstrap sample. */
export const ciderDraft = (items: readonly Pair[]): Draft => ({
  ...meanDraft("CIDEr", "CIDEr", ciderPerPair(items), 1),
  isPlain: true,
});

/** BERTScore's three figures: not computed, in words, until an encoder runs. */
export const bertDrafts = ({ bertModel }: ScorerOptions): readonly Draft[] => {
  const missing =
    bertModel === undefined
      ? "BERTScore needs an encoder (--bert_model), and this version runs none yet"
      : `this version runs no encoder yet, so ${bertModel} was not used`;
  return ["bert f1", "BERT Recall", "BERT Precision"].map((key): Draft => ({
    key,
    title: key,
    value: undefined,
    missing,
  }));
};
