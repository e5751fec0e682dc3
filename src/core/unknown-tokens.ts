import { UserError } from "./errors.js";

/** Token ids that a model has no embedding for, in one place. */
export interface UnknownTokens {
  /** `data/train.json, row 4`, `pad_token of the tokenizer`. */
  readonly where: string;
  /** How often each id occurs there. */
  readonly ids: ReadonlyMap<number, number>;
}

/** The text of a token, where a tokenizer is at hand. */
export type TokenText = (id: number) => string | undefined;

/** The tokens that a model knows. */
export interface Vocabulary {
  /** The rows of its embedding: ids are 0 up to below it. */
  readonly vocabularySize: number;
  /** For error messages. */
  readonly textOf?: TokenText;
}

/** Whether `id` is a row of a table of `vocabularySize` tokens, from 0. */
export const isKnownId = (id: number, vocabularySize: number): boolean =>
  Number.isInteger(id) && id >= 0 && id < vocabularySize;

/** The ids that are no row of an embedding of `vocabularySize` rows, with how often each occurs; empty where all are known. */
export const unknownIds = (
  ids: ArrayLike<number>,
  vocabularySize: number,
): ReadonlyMap<number, number> => {
  const unknown = new Map<number, number>();
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i] ?? NaN;
    if (!isKnownId(id, vocabularySize)) unknown.set(id, (unknown.get(id) ?? 0) + 1);
  }
  return unknown;
};

/** `"<|im_start|>" (id 1120)`, or `the token id 1120` where no tokenizer has a text for it. */
export const describeToken = (id: number, textOf: TokenText = () => undefined): string => {
  const text = textOf(id);
  return text === undefined || text === ""
    ? `the token id ${String(id)}`
    : `${JSON.stringify(text)} (id ${String(id)})`;
};

/** `"<|im_start|>" (id 1120) 2 times, "<|im_end|>" (id 1121)`: up to five tokens, and the number of the others. */
export const describeTokens = (ids: ReadonlyMap<number, number>, textOf?: TokenText): string => {
  const shown = [...ids].slice(0, 5).map(([id, times]) => {
    const token = describeToken(id, textOf);
    return times === 1 ? token : `${token} ${String(times)} times`;
  });
  const rest = ids.size - shown.length;
  return shown.join(", ") + (rest > 0 ? ` and ${String(rest)} more` : "");
};

/** What to do about token ids that the model has no rows for: the hint of every such UserError. */
export const unknownTokensHint =
  "Take these tokens out, or take tokenizer and model from one folder. Where tokens were added to the tokenizer, the model needs " +
  "rows for them: model.resize_token_embeddings(len(tokenizer)) in transformers";

const maxListed = 10;

/**
 * Checks that nothing unknown was found: a model would read beyond its embedding.
 *
 * @param model names the model in the error
 * @throws {UserError} that counts all tokens and names the first ten places
 */
export const requireKnownTokens = (
  model: string,
  unknown: readonly UnknownTokens[],
  { vocabularySize, textOf }: Vocabulary,
): void => {
  if (unknown.length === 0) return;
  const all = unknown.reduce(
    (sum, { ids }) => sum + [...ids.values()].reduce((times, n) => times + n, 0),
    0,
  );
  const listed = unknown
    .slice(0, maxListed)
    .map(({ where, ids }) => `  ${where}: ${describeTokens(ids, textOf)}`);
  const rest = unknown.length - listed.length;
  throw new UserError(
    [
      `Cannot use these tokens with ${model}: found ${String(all)} that it has no embedding for, expected ids from 0 to ${String(vocabularySize - 1)}`,
      ...listed,
      ...(rest > 0 ? [`  and in ${String(rest)} more rows`] : []),
    ].join("\n"),
    unknownTokensHint,
  );
};
