import { bestBertScore, type BertScore, type EncodedText } from "../metrics/bert-score.js";
import { ciderPerPair } from "../metrics/cider.js";
import { openMeteorData } from "../metrics/meteor-data.js";
import { meteor } from "../metrics/meteor.js";
import { nistOfTerms, nistTerms, nistWidth } from "../metrics/nist.js";
import type { Pair } from "../metrics/pair.js";
import type { ScorerOptions, TextEncoder } from "./scorer.js";
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

const bertFigures = [
  ["bert f1", "f1"],
  ["BERT Recall", "recall"],
  ["BERT Precision", "precision"],
] as const;

/** Items whose texts are vectors at a time. */
const bertItems = 64;

/** A score an item; each text is encoded once. */
const bertScores = async (
  items: readonly Pair[],
  { encode }: Pick<TextEncoder, "encode">,
): Promise<readonly BertScore[]> => {
  const texts = [
    ...new Set(items.flatMap(({ prediction, references }) => [prediction, ...references])),
  ];
  const encoded = await encode(texts);
  const vectors = new Map(encoded.map((vector, i) => [texts[i], vector]));
  const of = (text: string): EncodedText => {
    const found = vectors.get(text);
    if (!found) throw new RangeError("The encoder gave fewer vectors than it had texts");
    return found;
  };
  return items.map(({ prediction, references }) =>
    bestBertScore(of(prediction), references.map(of)),
  );
};

/**
 * BERTScore's three figures, without weights by frequency and without baseline, as convai2_eval.py asks for them; without an encoder
 * not computed, in words.
 */
export const bertDrafts = async (
  items: readonly Pair[],
  { encoder }: ScorerOptions,
): Promise<{ readonly drafts: readonly Draft[]; readonly remarks: readonly string[] }> => {
  if (!encoder) {
    const missing = "BERTScore needs an encoder (--bert_model)";
    const drafts = bertFigures.map(([key]): Draft => ({
      key,
      title: key,
      value: undefined,
      missing,
    }));
    return { drafts, remarks: [] };
  }
  const scores: BertScore[] = [];
  const progress = encoder.progress(items.length);
  try {
    for (let start = 0; start < items.length; start += bertItems) {
      const some = items.slice(start, start + bertItems);
      scores.push(...(await bertScores(some, encoder)));
      progress.advance(some.length);
    }
  } finally {
    progress.done();
  }
  return {
    drafts: bertFigures.map(([key, figure]) =>
      meanDraft(
        key,
        key,
        scores.map((score) => score[figure]),
      ),
    ),
    remarks: [
      `BERTScore with ${encoder.description}: comparable with figures of the same encoder and layer alone; the original's are of roberta-large, layer 17`,
    ],
  };
};
