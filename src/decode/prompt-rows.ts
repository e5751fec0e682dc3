import { describeJson } from "../core/json.js";
import { describeTokens, unknownIds, type Vocabulary } from "../core/unknown-tokens.js";
import { maskOf, tokenIdsOf } from "../datasets/pre-tokenized.js";
import { readRecords, throwFaults } from "../datasets/read-records.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";
import type { Sequence } from "./search.js";
import type { Prompt } from "./step-engine.js";

/**
 * The prompts of a file of JSON or JSON Lines (see readRecords): a row has `prompt`, a text, or `input_ids` and, optionally, `attention_mask`.
 *
 * A text gets the BOS token in front unless it begins with it; ids are taken as they are. Zeros of attention_mask are
 * padding, which may stand at the left only.
 * @param tokenizer undefined where the model's folder has none: then every row needs input_ids
 * @throws {UserError} if the file is missing or broken, or a row is not so: every fault with its line, up to ten
 */
export const readPromptRows = async (
  path: string,
  {
    tokenizer,
    ...vocabulary
  }: Vocabulary & { readonly tokenizer: Pick<Tokenizer, "encode" | "bosToken"> | undefined },
): Promise<readonly Prompt[]> => {
  const { records } = await readRecords(path);
  const faults: string[] = [];
  const prompts = records.flatMap(({ place, value }): Prompt[] => {
    const prompt =
      value.input_ids === undefined
        ? encodePrompt(value, tokenizer, vocabulary)
        : readIds(value, vocabulary);
    if (typeof prompt !== "string") return [prompt];
    faults.push(`${place}: ${prompt}`);
    return [];
  });
  throwFaults(path, faults, 'A row is {"prompt": "..."} or {"input_ids": [...]}');
  return prompts;
};

/** The prompt of a text, or what is wrong with the row. */
const encodePrompt = (
  { prompt, ...others }: Readonly<Record<string, unknown>>,
  tokenizer: Pick<Tokenizer, "encode" | "bosToken"> | undefined,
  { vocabularySize, textOf }: Vocabulary,
): Prompt | string => {
  if (typeof prompt !== "string") {
    const names = Object.keys(others).join(", ");
    const found =
      prompt !== undefined
        ? `${describeJson(prompt)} in prompt`
        : names === ""
          ? "no fields"
          : `fields ${names}`;
    return `found ${found}, expected prompt, a text, or input_ids`;
  }
  if (!tokenizer) return "found a text, expected input_ids: the model's folder has no tokenizer";
  const { bosToken = "" } = tokenizer;
  const ids = tokenizer.encode(prompt.startsWith(bosToken) ? prompt : bosToken + prompt);
  if (ids.length === 0) return "found an empty prompt, expected at least one token";
  const unknown = unknownIds(ids, vocabularySize);
  return unknown.size === 0
    ? { ids }
    : `found ${describeTokens(unknown, textOf)} in prompt, expected tokens with ids from 0 below ${String(vocabularySize)}`;
};

/** The prompt of a row of ids, or what is wrong with it. */
const readIds = (
  row: Readonly<Record<string, unknown>>,
  vocabulary: Vocabulary,
): Prompt | string => {
  const ids = tokenIdsOf(row, "input_ids", vocabulary);
  if (typeof ids === "string") return ids;
  const mask = maskOf(row) ?? ids.map(() => 1);
  if (typeof mask === "string") return mask;
  if (mask.length !== ids.length)
    return `found ${String(mask.length)} attention_mask, expected ${String(ids.length)} as in input_ids`;
  const paddingColumns = mask.indexOf(1);
  if (paddingColumns < 0) return "found no token, expected at least one that is not padding";
  if (mask.includes(0, paddingColumns))
    return "found padding behind a token in attention_mask, expected it at the left only";
  return { ids: ids.slice(paddingColumns), paddingColumns };
};

/** A line of `hira generate`'s result: one for every sequence, those of a prompt together, best first. */
export interface GeneratedRow {
  /** The prompt's number in the input, from 0. */
  readonly row: number;
  /** With the token that ended the sequence, without padding. */
  readonly new_tokens: readonly number[];
  /** Without special tokens; where the model has a tokenizer. */
  readonly text?: string;
  /** As transformers' sequences_scores. */
  readonly score: number;
  /** "string": a stop string of generation_config.json, which `text` ends with. */
  readonly stopped_by: "eos" | "length" | "string";
}

/** The lines of a result in the order of the prompts. */
export const generatedRows = (
  results: readonly (readonly Sequence[])[],
  tokenizer: Pick<Tokenizer, "decode"> | undefined,
): readonly GeneratedRow[] =>
  results.flatMap((sequences, row) =>
    sequences.map(({ tokens, score, stoppedBy }) => ({
      row,
      new_tokens: tokens,
      ...(tokenizer && { text: tokenizer.decode(tokens, { skipSpecialTokens: true }) }),
      score,
      stopped_by: stoppedBy,
    })),
  );
