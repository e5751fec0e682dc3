import {
  requireKnownTokens,
  unknownIds,
  type UnknownTokens,
  type Vocabulary,
} from "../core/unknown-tokens.js";
import { nameRow } from "../core/row-names.js";
import type { EncodedRow } from "../datasets/encoded-rows.js";
import type { ModelFolder } from "../models/model-folder.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";
import type { BaseModel } from "./load-base.js";

/** The tokens that a model has embeddings for, whatever its tokenizer has: those of the model that is used. */
export const vocabularyOf = ({ folder, tokenizer }: BaseModel): Vocabulary => ({
  vocabularySize: folder.model.vocabSize,
  textOf: (id) => tokenizer?.decode([id]),
});

/** The tokens of rows that the model has no embedding for. What a limit has cut off does not count. */
export const unknownTokensOfRows = (
  rows: readonly EncodedRow[],
  path: string,
  { vocabularySize }: Vocabulary,
): readonly UnknownTokens[] =>
  rows.flatMap(({ row, ids: all }) => {
    const ids = unknownIds(all, vocabularySize);
    return ids.size === 0 ? [] : [{ where: `${path}, ${nameRow(row)}`, ids }];
  });

/** The special tokens of the model's files that it has no embedding for. What no file states does not count. */
const unknownInFiles = (
  { model, rawConfig, tokenIds }: ModelFolder,
  { vocabularySize }: Vocabulary,
): readonly UnknownTokens[] => {
  const listed = (id: number | undefined): readonly number[] => (id === undefined ? [] : [id]);
  return (
    [
      ["bos_token_id", listed(tokenIds.bosId), listed(model.bosId)],
      ["eos_token_id", tokenIds.eosIds, model.eosIds],
      ["pad_token_id", listed(tokenIds.padId), listed(model.padId)],
    ] as const
  ).flatMap(([name, used, ofConfig]) => {
    const inConfig = used.length === ofConfig.length && used.every((id, i) => id === ofConfig[i]);
    if (inConfig && rawConfig[name] === undefined) return [];
    const ids = unknownIds(used, vocabularySize);
    const file = inConfig ? "config.json" : "generation_config.json";
    return ids.size === 0 ? [] : [{ where: `${name} of ${file}`, ids }];
  });
};

/** The special tokens of a tokenizer that the model has no embedding for. */
const unknownInTokenizer = (
  tokenizer: Tokenizer,
  { vocabularySize }: Vocabulary,
): readonly UnknownTokens[] =>
  (["bos", "eos", "pad"] as const).flatMap((name) => {
    const id = tokenizer[`${name}Id`];
    const ids = unknownIds(id === undefined ? [] : [id], vocabularySize);
    return ids.size === 0 ? [] : [{ where: `${name}_token of the tokenizer`, ids }];
  });

/**
 * Checks, before a model runs, that it has an embedding for every token it will be given.
 *
 * Tokens that the tokenizer has and no row are fine. A special token that is unknown is named once, and not again for every row.
 * @param inRows see unknownTokensOfRows
 * @param usesTokenizer whether the tokenizer's special tokens stand in the rows
 * @throws {UserError} that counts all of them and names the first, with row, text and id
 */
export const requireKnownTokensOf = (
  base: BaseModel,
  inRows: readonly UnknownTokens[],
  { usesTokenizer }: { readonly usesTokenizer: boolean },
): void => {
  const { folder, tokenizer } = base;
  const vocabulary = vocabularyOf(base);
  const special = [
    ...unknownInFiles(folder, vocabulary),
    ...(usesTokenizer && tokenizer ? unknownInTokenizer(tokenizer, vocabulary) : []),
  ];
  const named = new Set(special.flatMap(({ ids }) => [...ids.keys()]));
  const seen = new Set<string>();
  const others = inRows.flatMap(({ where, ids }) => {
    // The rows of one file may serve twice, as validation and as test.
    if (seen.has(where)) return [];
    seen.add(where);
    const rest = new Map([...ids].filter(([id]) => !named.has(id)));
    return rest.size === 0 ? [] : [{ where, ids: rest }];
  });
  requireKnownTokens(folder.path, [...special, ...others], vocabulary);
};
