import { countNgrams } from "./ngrams.js";
import { sumTerms, type Pair } from "./pair.js";
import { splitWords } from "./python-text.js";

const maxOrder = 4;

/** Numbers of bleuTerms. */
export const bleuWidth = 2 * maxOrder + 2;

/** BLEU and what it is made of; shares, not percent. */
export interface BleuScore {
  readonly bleu: number;
  /** Shares of the predictions' n-grams that a reference has too, for n = 1 to 4: what the original calls bleu1 to bleu4. */
  readonly precisions: readonly [number, number, number, number];
  readonly brevityPenalty: number;
  readonly lengthRatio: number;
  /** Tokens. */
  readonly predictionLength: number;
  /** Tokens of the shortest reference of each pair. */
  readonly referenceLength: number;
}

const entities = [
  ["&quot;", '"'],
  ["&amp;", "&"],
  ["&lt;", "<"],
  ["&gt;", ">"],
] as const;

/**
 * Tokens of mteval-v13a: punctuation stands alone, but for full stops and commas inside of numbers and for hyphens between letters.
 *
 * Source: NIST, mteval-v13a.pl, in the form of Hugging Face evaluate's bleu (tokenizer_13a.py).
 */
export const tokenize13a = (text: string): string[] => {
  let line = text.replaceAll("<skipped>", "").replaceAll("-\n", "").replaceAll("\n", " ");
  for (const [entity, character] of entities) line = line.replaceAll(entity, character);
  return splitWords(splitPunctuation(line));
};

/** What mteval-v13a does for languages written in Latin letters. */
export const splitPunctuation = (line: string): string =>
  ` ${line} `
    .replace(/([{-~[-` -&(-+:-@/])/gu, " $1 ")
    .replace(/([^0-9])([.,])/gu, "$1 $2 ")
    .replace(/([.,])([^0-9])/gu, " $1 $2")
    .replace(/([0-9])(-)/gu, "$1 $2 ");

/**
 * What a pair adds to BLEU: matches for n = 1 to 4, n-grams of the prediction for n = 1 to 4, its tokens, tokens of the shortest
 * reference. An n-gram matches as often as the reference that has most of it.
 */
export const bleuTerms = ({ prediction, references }: Pair): Float64Array => {
  if (references.length === 0) throw new RangeError("found no reference, expected at least one");
  const tokens = tokenize13a(prediction);
  const referenceTokens = references.map(tokenize13a);
  const terms = new Float64Array(bleuWidth);
  for (let n = 1; n <= maxOrder; n++) {
    const referenceCounts = referenceTokens.map((reference) => countNgrams(reference, n));
    let matches = 0;
    for (const [ngram, count] of countNgrams(tokens, n)) {
      const most = referenceCounts.reduce(
        (highest, counts) => Math.max(highest, counts.get(ngram) ?? 0),
        0,
      );
      matches += Math.min(count, most);
    }
    terms[n - 1] = matches;
    terms[maxOrder + n - 1] = Math.max(0, tokens.length - n + 1);
  }
  terms[2 * maxOrder] = tokens.length;
  terms[2 * maxOrder + 1] = Math.min(...referenceTokens.map(({ length }) => length));
  return terms;
};

/** BLEU of sums of bleuTerms, see bleu. */
export const bleuOfTerms = (sums: ArrayLike<number>): BleuScore => {
  const precision = (n: number): number => {
    const possible = sums[maxOrder + n - 1] ?? 0;
    return possible > 0 ? (sums[n - 1] ?? 0) / possible : 0;
  };
  const precisions = [precision(1), precision(2), precision(3), precision(4)] as const;
  const predictionLength = sums[2 * maxOrder] ?? 0;
  const referenceLength = sums[2 * maxOrder + 1] ?? 0;
  const lengthRatio = predictionLength / referenceLength;
  const brevityPenalty =
    predictionLength === 0 ? 0 : lengthRatio > 1 ? 1 : Math.exp(1 - 1 / lengthRatio);
  const geometricMean =
    Math.min(...precisions) > 0
      ? Math.exp(precisions.reduce((sum, share) => sum + Math.log(share) / maxOrder, 0))
      : 0;
  return {
    bleu: geometricMean * brevityPenalty,
    precisions,
    brevityPenalty,
    lengthRatio,
    predictionLength,
    referenceLength,
  };
};

/**
 * BLEU over all pairs, unsmoothed: exp(min(0, 1 - references / predictions)) times the geometric mean of the precisions for n = 1 to 4.
 *
 * As Hugging Face evaluate's bleu has it, except where that divides by zero: predictions without a token have the brevity
 * penalty 0, and references without one 1.
 * Source: Papineni et al., ACL 2002; tensorflow/nmt, nmt/scripts/bleu.py.
 */
export const bleu = (pairs: readonly Pair[]): BleuScore =>
  bleuOfTerms(sumTerms(pairs.map(bleuTerms), bleuWidth));
