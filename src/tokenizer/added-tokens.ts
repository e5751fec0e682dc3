/** An entry of tokenizer.json's `added_tokens`. */
export interface AddedToken {
  readonly id: number;
  readonly content: string;
  /** Found only where no letter, digit or the like stands beside it. */
  readonly singleWord: boolean;
  /** Takes the white space before it, or behind it, along. */
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  /** Looked for in the normalized text, in its normalized form. */
  readonly normalized: boolean;
  /** Left out of decoded text where that is asked for. */
  readonly special: boolean;
}

/** A part of a text: an added token, or what has to be tokenized. */
export type TextPart =
  | { readonly id: number }
  | {
      /** Normalized. */
      readonly text: string;
      /** Whether the whole text begins with it. */
      readonly first: boolean;
    };

interface Node {
  readonly next: Map<string, Node>;
  token?: AddedToken;
}

/** The longest of the tokens at a place of a text, by a tree of their letters. */
const makeFinder = (
  tokens: readonly AddedToken[],
  formOf: (token: AddedToken) => string,
): ((text: string, at: number) => { token: AddedToken; end: number } | undefined) => {
  const root: Node = { next: new Map() };
  for (const token of tokens) {
    let node = root;
    for (const unit of formOf(token).split("")) {
      let child = node.next.get(unit);
      if (!child) node.next.set(unit, (child = { next: new Map() }));
      node = child;
    }
    if (node !== root) node.token ??= token;
  }
  return (text, start) => {
    let [node, found]: [Node, { token: AddedToken; end: number } | undefined] = [root, undefined];
    for (let at = start; at < text.length; at++) {
      const child = node.next.get(text.charAt(at));
      if (!child) break;
      node = child;
      if (node.token) found = { token: node.token, end: at + 1 };
    }
    return found;
  };
};

// Rust's \w and \s: JavaScript's know ASCII words only, and have U+FEFF but not U+0085 for white space.
const endsWithWord = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]$/u;
const startsWithWord = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u;
const spacesBehind = /\p{White_Space}*/uy;
const isSpace = /\p{White_Space}/u;

/** The two UTF-16 units before and behind a place hold a whole character, whatever it is. */
const isWordBefore = (text: string, at: number): boolean =>
  endsWithWord.test(text.slice(Math.max(0, at - 2), at));
const isWordBehind = (text: string, at: number): boolean =>
  startsWithWord.test(text.slice(at, at + 2));

const startOfSpaces = (text: string, end: number): number => {
  let start = end;
  while (start > 0 && isSpace.test(text.charAt(start - 1))) start--;
  return start;
};

const endOfSpaces = (text: string, start: number): number => {
  spacesBehind.lastIndex = start;
  spacesBehind.test(text);
  return spacesBehind.lastIndex;
};

type Cut = { readonly id: number } | { readonly start: number; readonly end: number };

/**
 * Where tokens stand in a text: leftmost first, the longest of those that begin at one place.
 *
 * A `singleWord` token inside a word is passed over with all that lies in it. White space that a token takes along from its left is
 * never what the token before has taken.
 */
const cutAt = (text: string, find: ReturnType<typeof makeFinder>): readonly Cut[] => {
  const cuts: Cut[] = [];
  let [done, at] = [0, 0];
  while (at < text.length) {
    const found = find(text, at);
    if (!found) {
      at++;
      continue;
    }
    const { token, end: matchEnd } = found;
    let [start, end] = [at, matchEnd];
    at = matchEnd;
    if (token.singleWord && (isWordBefore(text, start) || isWordBehind(text, end))) continue;
    if (token.lstrip) start = Math.max(startOfSpaces(text, start), done);
    if (token.rstrip) end = endOfSpaces(text, end);
    if (done < start) cuts.push({ start: done, end: start });
    cuts.push({ id: token.id });
    done = end;
  }
  if (done < text.length) cuts.push({ start: done, end: text.length });
  return cuts;
};

/**
 * Cuts texts at added tokens: first those that are looked for in the text as it stands, then, in what is left between them and
 * normalized, the others.
 *
 * Source: added_vocabulary.rs of tokenizers 0.23 (find_matches, extract_and_normalize). The engine's own way knows neither
 * `single_word` nor the second search without a normalizer, and gives other ids for them.
 */
export const makeTextCutter = (
  tokens: readonly AddedToken[],
  normalize: (text: string) => string,
): ((text: string) => readonly TextPart[]) => {
  const asTheyStand = makeFinder(
    tokens.filter(({ normalized }) => !normalized),
    ({ content }) => content,
  );
  const inNormalized = makeFinder(
    tokens.filter(({ normalized }) => normalized),
    ({ content }) => normalize(content),
  );
  return (text) =>
    cutAt(text, asTheyStand).flatMap((cut): readonly TextPart[] => {
      if ("id" in cut) return [cut];
      const piece = normalize(text.slice(cut.start, cut.end));
      return cutAt(piece, inNormalized).map((part) =>
        "id" in part
          ? part
          : {
              text: piece.slice(part.start, part.end),
              first: cut.start === 0 && part.start === 0,
            },
      );
    });
};
