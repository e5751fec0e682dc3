import { spaceClass, stripEnd, stripSpace, textEnd, wordClass } from "./python-text.js";

/**
 * What a Punkt model knows of a language: lists that were learnt from its texts.
 *
 * Words are in lower case; numbers are `##number##`.
 */
export interface PunktModel {
  /** Abbreviations without their last full stop. */
  readonly abbreviations: ReadonlySet<string>;
  /** Pairs around a full stop that ends no sentence, as `first\tsecond`. */
  readonly collocations: ReadonlySet<string>;
  /** Words that often begin sentences. */
  readonly starters: ReadonlySet<string>;
  /** How words were seen: a sum of the flags below. */
  readonly contexts: ReadonlyMap<string, number>;
}

/** A model that knows nothing: every full stop ends a sentence, but before small letters where it stands after an initial or a number. */
export const noPunktModel: PunktModel = {
  abbreviations: new Set(),
  collocations: new Set(),
  starters: new Set(),
  contexts: new Map(),
};

const middleUpper = 1 << 2;
const anyUpper = (1 << 1) + middleUpper + (1 << 3);
const startLower = 1 << 4;
const anyLower = startLower + (1 << 5) + (1 << 6);

const nonWord = "[)\";}\\]*:@'({[?!]";
const manyMarks = `(?:-{2,}|\\.{2,}|(?:\\.[${spaceClass}]){2,}\\.)`;
const letter = `(?:(?!\\p{Nd})[${wordClass}])`;

const sentenceEnds = new RegExp(
  `[.?!](?=(?<after>${nonWord}|(?<gap>[${spaceClass}]+)[^${spaceClass}]+))`,
  "gu",
);
const words = new RegExp(
  `${manyMarks}|(?=[^("\`{[:;&#*@)}\\]\\-,])[^${spaceClass}]+?(?=[${spaceClass}]|${textEnd}|${nonWord}|${manyMarks}|,(?=${textEnd}|[${spaceClass}]|${nonWord}|${manyMarks}))|[^${spaceClass}]`,
  "gu",
);
/** Marks that belong to the sentence before; $ is the end of a line here. */
const closing = new RegExp(`^["')\\]}]+?(?:[${spaceClass}]+|(?=--)|(?=\\n)|$)`, "u");
const numeric = /^-?[.,]?\p{Nd}[\p{Nd},.-]*\.?(?=\n?$)/u;
const initial = new RegExp(`^${letter}\\.${textEnd}`, "u");

/** Where the last space before `end` and after `start` stands, in ASCII; 0 is relative to `start`, and stands for none. */
const lastSpace = (text: string, start: number, end: number): number => {
  for (let i = end - 1; i > start; i--)
    if (" \t\n\r\v\f".includes(text.charAt(i))) return i - start;
  return 0;
};

interface Token {
  readonly text: string;
  /** In lower case; a number is `##number##`. */
  readonly type: string;
  ends: boolean;
  abbreviation: boolean;
  readonly ellipsis: boolean;
}

const withoutStop = (type: string): string =>
  type.length > 1 && type.endsWith(".") ? type.slice(0, -1) : type;

const typeOf = ({ type, ends }: Token): string => (ends ? withoutStop(type) : type);

const readToken = (text: string, { abbreviations }: PunktModel): Token => {
  const ellipsis = /^\.\.+$/.test(text);
  let ends = text === "." || text === "?" || text === "!";
  let abbreviation = false;
  if (!ends && !ellipsis && text.endsWith(".") && !text.endsWith("..")) {
    const word = text.slice(0, -1).toLowerCase();
    abbreviation = abbreviations.has(word) || abbreviations.has(word.split("-").at(-1) ?? "");
    ends = !abbreviation;
  }
  const type = text.toLowerCase().replace(numeric, "##number##");
  return { text, type, ends, abbreviation, ellipsis };
};

/** Whether a word's letters say that it begins a sentence; undefined where they do not tell. */
const beginsSentence = (token: Token, { contexts }: PunktModel): boolean | undefined => {
  if (token.text.length === 1 && ";:,.!?".includes(token.text)) return false;
  const context = contexts.get(typeOf(token)) ?? 0;
  if (/^\p{Uppercase}/u.test(token.text) && context & anyLower && !(context & middleUpper))
    return true;
  if (/^\p{Lowercase}/u.test(token.text) && (context & anyUpper || !(context & startLower)))
    return false;
  return undefined;
};

/** Decides again whether `token` ends a sentence, by what follows it. */
const reconsider = (token: Token, next: Token, model: PunktModel): void => {
  if (!token.text.endsWith(".")) return;
  const type = withoutStop(token.type);
  const nextType = typeOf(next);
  const isInitial = initial.test(token.text);
  if (model.collocations.has(`${type}\t${nextType}`)) {
    token.ends = false;
    token.abbreviation = true;
    return;
  }
  const begins = beginsSentence(next, model);
  const upper = /^\p{Uppercase}/u.test(next.text);
  if ((token.abbreviation || token.ellipsis) && !isInitial) {
    if (begins === true || (upper && model.starters.has(nextType))) {
      token.ends = true;
      return;
    }
  }
  if (!isInitial && type !== "##number##") return;
  const unseen = !((model.contexts.get(nextType) ?? 0) & anyLower);
  if (begins === false || (begins === undefined && isInitial && upper && unseen)) {
    token.ends = false;
    token.abbreviation = true;
  }
};

/** Whether a token before the last one ends a sentence. */
const holdsEnd = (text: string, model: PunktModel): boolean => {
  const tokens = text
    .split("\n")
    .filter((line) => stripSpace(line) !== "")
    .flatMap((line) => (line.match(words) ?? []).map((word) => readToken(word, model)));
  for (const [i, token] of tokens.entries()) {
    const next = tokens[i + 1];
    if (!next) break;
    reconsider(token, next, model);
    if (token.ends) return true;
  }
  return false;
};

interface PossibleEnd {
  /** Of the mark. */
  readonly at: number;
  /** Where the next word begins; undefined where a mark follows. */
  readonly next: number | undefined;
  /** From the word before the mark to the word after it. */
  readonly context: string;
}

/** Marks that may end a sentence: of several at one word, the last. */
function* possibleEnds(text: string): Generator<PossibleEnd> {
  let word = { start: 0, stop: 0 };
  let last: PossibleEnd | undefined;
  for (const { index, groups = {} } of text.matchAll(sentenceEnds)) {
    const space = lastSpace(text, word.stop, index);
    const start = space > 0 ? word.stop + space + 1 : word.start;
    if (last && word.stop <= start) yield last;
    word = { start, stop: index };
    const after = groups["after"] ?? "";
    const gap = groups["gap"];
    last = {
      at: index,
      next: gap === undefined ? undefined : index + 1 + gap.length,
      context: text.slice(start, index + 1) + after,
    };
  }
  if (last) yield last;
}

/**
 * The sentences of a text.
 *
 * Source: Kiss and Strunk, "Unsupervised Multilingual Sentence Boundary Detection", Computational Linguistics 2006, as NLTK 3.8.1
 * decides (PunktSentenceTokenizer).
 */
export const splitSentences = (text: string, model: PunktModel): string[] => {
  const spans: { start: number; end: number }[] = [];
  let start = 0;
  for (const { at, next, context } of possibleEnds(text)) {
    if (!holdsEnd(context, model)) continue;
    spans.push({ start, end: at + 1 });
    start = next ?? at + 1;
  }
  spans.push({ start, end: stripEnd(text).length });
  const sentences: string[] = [];
  let moved = 0;
  for (const [i, span] of spans.entries()) {
    const following = spans[i + 1];
    const from = span.start + moved;
    const marks = following && closing.exec(text.slice(following.start, following.end));
    moved = marks ? marks[0].length : 0;
    if (following && marks)
      sentences.push(text.slice(from, following.start + stripEnd(marks[0]).length));
    else if (from < span.end) sentences.push(text.slice(from, span.end));
  }
  return sentences;
};
