import {
  bertBatch,
  bertScoresOfBatch,
  bestBertScore,
  type BertScore,
  type EncodedText,
} from "../metrics/bert-score.js";
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

/** A prediction with one of its references. */
interface TextPair {
  readonly prediction: string;
  readonly reference: string;
}

/** A score a pair; each text is encoded once. */
const scorePairs = async (
  pairs: readonly TextPair[],
  { encode }: Pick<TextEncoder, "encode">,
): Promise<readonly BertScore[]> => {
  const texts = [...new Set(pairs.flatMap(({ prediction, reference }) => [prediction, reference]))];
  const encoded = await encode(texts);
  const vectors = new Map(encoded.map((vector, i) => [texts[i], vector]));
  const of = (text: string): EncodedText => {
    const found = vectors.get(text);
    if (!found) throw new RangeError("The encoder gave fewer vectors than it had texts");
    return found;
  };
  return bertScoresOfBatch(
    pairs.map(({ prediction, reference }) => ({
      prediction: of(prediction),
      reference: of(reference),
    })),
  );
};

/** A score an item, the best of its references. */
const bertScores = async (
  items: readonly Pair[],
  encoder: TextEncoder,
): Promise<readonly BertScore[]> => {
  const pairs = items.flatMap(({ prediction, references }) =>
    references.map((reference): TextPair => ({ prediction, reference })),
  );
  const scores: BertScore[] = [];
  const progress = encoder.progress(pairs.length);
  try {
    for (let start = 0; start < pairs.length; start += bertBatch) {
      const some = pairs.slice(start, start + bertBatch);
      scores.push(...(await scorePairs(some, encoder)));
      progress.advance(some.length);
    }
  } finally {
    progress.done();
  }
  let next = 0;
  return items.map(({ references }) =>
    bestBertScore(scores.slice(next, (next += references.length))),
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
  const scores = await bertScores(items, encoder);
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
