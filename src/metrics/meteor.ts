import { bestReference, meanOf, type Pair } from "./pair.js";
import { stemWord } from "./porter.js";
import { noPunktModel, splitSentences, type PunktModel } from "./sentences.js";
import { tokenizeSentence } from "./treebank.js";
import type { WordNet } from "./wordnet.js";

/** What METEOR reads beside the texts. */
export interface MeteorOptions {
  /** Without it words match by letters and stems only. */
  readonly wordnet?: WordNet | undefined;
  /** Without it sentences are told without lists of abbreviations, see noPunktModel. */
  readonly punkt?: PunktModel | undefined;
}

/** METEOR, as shares, and how it came about. */
export interface MeteorScore {
  readonly meteor: number;
  readonly perPair: readonly number[];
  /** What words were matched by, in this order: `exact`, `stem`, `wordnet`. */
  readonly stages: readonly string[];
  /** Whole sentences: which stages ran, and what differs from nltk's value. */
  readonly remarks: readonly string[];
}

const [alpha, beta, gamma] = [0.9, 3, 0.5];

/** The words of a text: its sentences' tokens, as nltk's word_tokenize has them. */
export const tokenizeWords = (text: string, punkt: PunktModel = noPunktModel): string[] =>
  splitSentences(text, punkt).flatMap(tokenizeSentence);

type Place = readonly [at: number, word: string];
type Match = readonly [prediction: number, reference: number];

/** Matches words from the last to the first, each with the last word that fits; what is matched leaves both lists. */
const matchWords = (
  predicted: Place[],
  reference: Place[],
  fits: (word: string) => (other: string) => boolean,
): Match[] => {
  const matches: Match[] = [];
  for (let i = predicted.length - 1; i >= 0; i--) {
    const place = predicted[i];
    if (!place) continue;
    const fitsWord = fits(place[1]);
    const j = reference.findLastIndex(([, word]) => fitsWord(word));
    const other = reference[j];
    if (!other) continue;
    matches.push([place[0], other[0]]);
    predicted.splice(i, 1);
    reference.splice(j, 1);
  }
  return matches;
};

const same = (word: string) => (other: string) => word === other;

/** Runs of matches that follow each other in both texts. */
const countChunks = (matches: readonly Match[]): number =>
  matches.filter(([at, other], i) => {
    const before = matches[i - 1];
    return !before || at !== before[0] + 1 || other !== before[1] + 1;
  }).length;

const meteorOfWords = (
  prediction: readonly string[],
  reference: readonly string[],
  wordnet: WordNet | undefined,
): number => {
  const places = (words: readonly string[]): Place[] =>
    words.map((word, i) => [i, word.toLowerCase()]);
  let [left, right] = [places(prediction), places(reference)];
  const matches = matchWords(left, right, same);
  const stems = (rest: readonly Place[]): Place[] => rest.map(([at, word]) => [at, stemWord(word)]);
  // The stems stay: nltk looks these up in WordNet, not the words.
  [left, right] = [stems(left), stems(right)];
  matches.push(...matchWords(left, right, same));
  if (wordnet) {
    const means = (word: string) => {
      const synonyms = wordnet.synonyms(word);
      return (other: string) => other === word || synonyms.has(other);
    };
    matches.push(...matchWords(left, right, means));
  }
  if (matches.length === 0) return 0;
  matches.sort(([a], [b]) => a - b);
  const precision = matches.length / prediction.length;
  const recall = matches.length / reference.length;
  const mean = (precision * recall) / (alpha * precision + (1 - alpha) * recall);
  const fragments = countChunks(matches) / matches.length;
  return (1 - gamma * fragments ** beta) * mean;
};

/** METEOR of one pair, with its best reference. */
export const meteorOfPair = (
  { prediction, references }: Pair,
  { wordnet, punkt }: MeteorOptions = {},
): number => {
  const words = tokenizeWords(prediction, punkt);
  return bestReference(references, (reference) =>
    meteorOfWords(words, tokenizeWords(reference, punkt), wordnet),
  );
};

const remarksOf = ({ wordnet, punkt }: MeteorOptions): string[] => [
  wordnet
    ? `METEOR matched words by letters, stems and the synonyms of WordNet ${wordnet.version ?? "(of no named release)"}.`
    : "METEOR matched words by letters and stems, without WordNet's synonyms: it is lower than nltk's.",
  ...(wordnet?.version !== undefined && wordnet.version !== "3.0"
    ? ["nltk's METEOR reads WordNet 3.0: values may differ."]
    : []),
  ...(punkt
    ? []
    : [
        "Sentences were told apart without Punkt's lists of abbreviations: texts with such as Mr. differ slightly from nltk's.",
      ]),
];

/**
 * METEOR: the mean over the pairs of (1 - 0.5 (chunks / matches)^3) P R / (0.9 P + 0.1 R) with the best reference.
 *
 * P and R are the shares of matched words. Without WordNet and Punkt's model it is not nltk's, which `remarks` says.
 * Source: Banerjee and Lavie, ACL workshop 2005, with Lavie and Agarwal's weights of 2007; nltk 3.8.1, nltk.translate.meteor_score.
 */
export const meteor = (pairs: readonly Pair[], options: MeteorOptions = {}): MeteorScore => {
  const perPair = pairs.map((pair) => meteorOfPair(pair, options));
  return {
    meteor: meanOf(perPair),
    perPair,
    stages: ["exact", "stem", ...(options.wordnet ? ["wordnet"] : [])],
    remarks: remarksOf(options),
  };
};
