import { countCommon, countNgrams, fMeasure } from "./ngrams.js";
import { bestReference, type Pair } from "./pair.js";
import { splitWords } from "./python-text.js";

/**
 * F1 of the words that stand between white space, as they are, with the best reference: punctuation and case count.
 *
 * Source: f1_scorer of the original's convai2_eval.py.
 */
export const tokenF1 = ({ prediction, references }: Pair): number => {
  const words = splitWords(prediction);
  const counts = countNgrams(words, 1);
  return bestReference(references, (reference) => {
    const referenceWords = splitWords(reference);
    const common = countCommon(counts, countNgrams(referenceWords, 1));
    return common === 0 ? 0 : fMeasure(common / words.length, common / referenceWords.length);
  });
};
