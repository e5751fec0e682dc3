import { spaceClass, splitWords, textEnd, wordBoundary, wordClass } from "./python-text.js";

type Rule = readonly [pattern: RegExp, replacement: string];

const rule = (pattern: string, replacement: string, flags = "gu"): Rule => [
  new RegExp(pattern, flags),
  replacement,
];

const openingQuotes: readonly Rule[] = [
  rule("[«“‘„]|`+", " $& "),
  rule('^"', "``"),
  rule("``", " $& "),
  rule("([ ([{<])(?:\"|'')", "$1 `` "),
  rule(`'(?!re|ve|ll|m|t|s|d|n)([${wordClass}])${wordBoundary}`, "' $1", "giu"),
];

const punctuation: readonly Rule[] = [
  rule(`([^.])(\\.)([\\])}>"'»”’ ]*)[${spaceClass}]*${textEnd}`, "$1 $2 $3 "),
  rule("([:,])(\\P{Nd})", " $1 $2"),
  rule(`([:,])${textEnd}`, " $1 "),
  rule("\\.{2,}", " $& "),
  rule("[;@#$%&]", " $& "),
  rule(`([^.])(\\.)([\\])}>"']*)[${spaceClass}]*${textEnd}`, "$1 $2$3 "),
  rule("[?!]", " $& "),
  rule("([^'])' ", "$1 ' "),
  rule("[*]", " $& "),
  rule("[\\][(){}<>]", " $& "),
  rule("--", " -- "),
];

const closingQuotes: readonly Rule[] = [
  rule("[»”’]", " $& "),
  rule("''", " '' "),
  rule('"', " '' "),
  rule("([^' ])('[sS]|'[mM]|'[dD]|') ", "$1 $2 "),
  rule("([^' ])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) ", "$1 $2 "),
];

const joined = (first: string, second: string, after = wordBoundary): Rule =>
  rule(`${wordBoundary}(${first})(${second})${after}`, " $1 $2 ", "giu");

const contractions: readonly Rule[] = [
  joined("can", "not"),
  joined("d", "'ye"),
  joined("gim", "me"),
  joined("gon", "na"),
  joined("got", "ta"),
  joined("lem", "me"),
  joined("more", "'n"),
  joined("wan", "na", `(?=[${spaceClass}])`),
  rule(` ('t)(is)${wordBoundary}`, " $1 $2 ", "giu"),
  rule(` ('t)(was)${wordBoundary}`, " $1 $2 ", "giu"),
];

const apply = (rules: readonly Rule[], text: string): string =>
  rules.reduce((changed, [pattern, replacement]) => changed.replace(pattern, replacement), text);

/**
 * The tokens of one sentence, as the Penn Treebank has them: `don't` is `do` and `n't`, quotes are `` and '', and only the last full stop is
 * a token.
 *
 * Source: the rules of MacIntyre's tokenizer.sed as NLTK 3.8.1 extends and orders them (NLTKWordTokenizer).
 */
export const tokenizeSentence = (sentence: string): string[] => {
  const opened = apply(punctuation, apply(openingQuotes, sentence));
  return splitWords(apply(contractions, apply(closingQuotes, ` ${opened} `)));
};
