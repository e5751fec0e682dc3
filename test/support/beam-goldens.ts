import { readFileSync } from "node:fs";
import type { ExecutionContext } from "ava";
import { decodeBatch } from "../../src/decode/decode-batch.js";
import { defaultDecodeSettings, type DecodeSettings } from "../../src/decode/settings.js";
import type { DecodeEngine, Prompt } from "../../src/decode/step-engine.js";

interface StoredCase {
  readonly num_beams: number;
  readonly num_return_sequences: number;
  readonly length_penalty: number;
  readonly no_repeat_ngram_size: number;
  readonly max_new_tokens: number;
  readonly early_stopping?: boolean | "never";
  readonly new_tokens: readonly (readonly number[])[];
  readonly sequences_scores?: readonly number[];
}

interface StoredSet {
  readonly input_ids: readonly (readonly number[])[];
  readonly attention_mask: readonly (readonly number[])[];
  readonly pad_token_id: number;
  readonly eos_token_id: number | readonly number[];
  readonly early_stopping?: boolean;
  readonly cases: readonly StoredCase[];
}

export interface GoldenCase {
  readonly name: string;
  readonly prompts: readonly Prompt[];
  readonly settings: DecodeSettings;
  /** New tokens of every returned sequence, filled with padding, grouped by prompt. */
  readonly newTokens: readonly (readonly number[])[];
  readonly scores: readonly number[] | undefined;
}

/** The cases of a file in the form of goldens/beams.json. */
export const readBeamGoldens = (path: string): readonly GoldenCase[] => {
  const { sets } = JSON.parse(readFileSync(path, "utf8")) as { sets: readonly StoredSet[] };
  return sets.flatMap((set, setNumber) => {
    const prompts = set.input_ids.map((row, i): Prompt => {
      const paddingColumns = set.attention_mask[i]!.indexOf(1);
      return { ids: row.slice(paddingColumns), paddingColumns };
    });
    return set.cases.map((stored, caseNumber) => ({
      name: `set ${String(setNumber)}, case ${String(caseNumber)}`,
      prompts,
      settings: {
        ...defaultDecodeSettings,
        numBeams: stored.num_beams,
        numReturnSequences: stored.num_return_sequences,
        lengthPenalty: stored.length_penalty,
        noRepeatNgramSize: stored.no_repeat_ngram_size,
        maxNewTokens: stored.max_new_tokens,
        earlyStopping: stored.early_stopping ?? set.early_stopping ?? false,
        eosIds: [set.eos_token_id].flat(),
        padId: set.pad_token_id,
      },
      newTokens: stored.new_tokens,
      scores: stored.sequences_scores,
    }));
  });
};

/** Decodes the prompts of a stored case as one batch and compares every token, and every score within 1e-4. */
export const checkGoldenCase = async (
  t: ExecutionContext,
  engine: DecodeEngine,
  { name, prompts, settings, newTokens, scores }: GoldenCase,
): Promise<void> => {
  const rows = prompts.map((_, i) => i);
  const found = (await decodeBatch(engine, prompts, { settings, rows, seed: 0 })).flat();
  const columns = newTokens[0]!.length;
  const padded = found.map(({ tokens }) => [
    ...tokens,
    ...Array.from({ length: columns - tokens.length }, () => settings.padId),
  ]);
  t.deepEqual(padded, newTokens, name);
  scores?.forEach((score, i) => {
    const difference = Math.abs(found[i]!.score - score);
    t.true(
      difference < 1e-4,
      `${name}, sequence ${String(i)}: scores differ by ${String(difference)}`,
    );
  });
};
