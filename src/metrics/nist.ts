import { splitPunctuation } from "./bleu.js";
import { countNgrams } from "./ngrams.js";
import { sumTerms, type Pair } from "./pair.js";
import { splitWords } from "./python-text.js";

const maxOrder = 5;

/** Numbers of nistTerms. */
export const nistWidth = 2 * maxOrder + 2;

const entities = [
  ["&apos;", "'"],
  ["&quot;", '"'],
  ["&#124;", "|"],
  ["&#91;", "["],
  ["&#93;", "]"],
  ["&gt;", ">"],
  ["&lt;", "<"],
  ["&amp;", "&"],
] as const;

/** The tokens of nltk's NISTTokenizer: those of mteval with other entities and without its hyphens at line ends. */
export const tokenizeForNist = (text: string): string[] => {
  let line = text.replaceAll("<skipped>", "");
  for (const [entity, character] of entities) line = line.replaceAll(entity, character);
  return splitWords(splitPunctuation(line.replaceAll("\u2028", " ")));
};

interface TokenPair {
  readonly prediction: readonly string[];
  readonly references: readonly (readonly string[])[];
}

/** log2(occurrences of all words of an n-gram but the last / occurrences of it), over all references; what a word tells. */
const informationOf = (pairs: readonly TokenPair[]): ReadonlyMap<string, number> => {
  const counts = new Map<string, number>();
  let tokens = 0;
  for (const reference of pairs.flatMap(({ references }) => references)) {
    tokens += reference.length;
    for (let n = 1; n <= maxOrder; n++)
      for (const [ngram, count] of countNgrams(reference, n))
        counts.set(ngram, (counts.get(ngram) ?? 0) + count);
  }
  return new Map(
    [...counts].map(([ngram, count]) => {
      const start = ngram.slice(0, Math.max(0, ngram.lastIndexOf(" ")));
      return [ngram, Math.log2((counts.get(start) ?? tokens) / count)];
    }),
  );
};

/** Information and length of the reference that tells most of a prediction's n-grams; of equal ones the longest. */
const bestOfOrder = (
  { prediction, references }: TokenPair,
  information: ReadonlyMap<string, number>,
  n: number,
): { readonly told: number; readonly length: number } => {
  const predicted = countNgrams(prediction, n);
  let best = { told: -Infinity, length: 0 };
  for (const reference of references) {
    const counts = countNgrams(reference, n);
    let told = 0;
    for (const [ngram, count] of predicted)
      told += Math.min(count, counts.get(ngram) ?? 0) * (information.get(ngram) ?? 0);
    if (told > best.told || (told === best.told && reference.length > best.length))
      best = { told, length: reference.length };
  }
  return best;
};

/**
 * What each pair adds to NIST: information for n = 1 to 5, n-grams for n = 1 to 5, tokens of the references, tokens of the prediction.
 *
 * What an n-gram tells is reckoned over the references of all pairs, and stays in draws of the pairs.
 */
export const nistTerms = (pairs: readonly Pair[]): readonly Float64Array[] => {
  const tokens = pairs.map(({ prediction, references }) => ({
    prediction: tokenizeForNist(prediction),
    references: references.map(tokenizeForNist),
  }));
  const information = informationOf(tokens);
  return tokens.map((pair) => {
    if (pair.references.length === 0)
      throw new RangeError("found no reference, expected at least one");
    const terms = new Float64Array(nistWidth);
    for (let n = 1; n <= maxOrder; n++) {
      const { told, length } = bestOfOrder(pair, information, n);
      terms[n - 1] = told;
      terms[maxOrder + n - 1] = Math.max(0, pair.prediction.length - n + 1);
      terms[2 * maxOrder] = (terms[2 * maxOrder] ?? 0) + length;
      terms[2 * maxOrder + 1] = (terms[2 * maxOrder + 1] ?? 0) + pair.prediction.length;
    }
    return terms;
  });
};

/** NIST's penalty: 1 from equal lengths on, and 0.5 where predictions have two thirds of the references' tokens. */
const lengthPenalty = (ratio: number): number =>
  ratio > 0 && ratio < 1
    ? Math.exp((Math.log(0.5) / Math.log(1.5) ** 2) * Math.log(ratio) ** 2)
    : Math.max(Math.min(ratio, 1), 0);

/** NIST of sums of nistTerms, see nist. */
export const nistOfTerms = (sums: ArrayLike<number>): number => {
  let information = 0;
  for (let n = 1; n <= maxOrder; n++) {
    const possible = sums[maxOrder + n - 1] ?? 0;
    if (possible > 0) information += (sums[n - 1] ?? 0) / possible;
  }
  return information * lengthPenalty((sums[2 * maxOrder + 1] ?? 0) / (sums[2 * maxOrder] ?? 0));
};

/**
 * NIST over all pairs: information a matched n-gram, summed over n = 1 to 5, times the length penalty. It has no upper bound.
 *
 * As nltk 3.8.1's corpus_nist over NISTTokenizer, which Hugging Face evaluate's nist_mt shows; an order without n-grams adds nothing,
 * where nltk divides by zero.
 * Source: Doddington, "Automatic evaluation of machine translation quality using n-gram co-occurrence statistics", HLT 2002.
 */
export const nist = (pairs: readonly Pair[]): number =>
  nistOfTerms(sumTerms(nistTerms(pairs), nistWidth));
