import { UserError } from "../core/errors.js";
import type { GenerationConfig } from "../models/generation-config.js";

/** What is forbidden or favoured, given the text so far; absent: no such rule. */
export type TokenRuleSettings = Pick<
  GenerationConfig,
  | "repetitionPenalty"
  | "encoderRepetitionPenalty"
  | "encoderNoRepeatNgramSize"
  | "badWordsIds"
  | "sequenceBias"
  | "minLength"
  | "minNewTokens"
  | "forcedBosTokenId"
  | "forcedEosTokenId"
  | "suppressTokens"
  | "beginSuppressTokens"
  | "exponentialDecayLengthPenalty"
  | "removeInvalidValues"
  | "renormalizeLogits"
>;

/**
 * How text is decoded. Names and meanings are those of transformers' GenerationConfig.
 *
 * One beam without sampling is greedy decoding; several with sampling are beam sampling.
 */
export interface DecodeSettings
  extends
    TokenRuleSettings,
    Pick<GenerationConfig, "minP" | "topH" | "typicalP" | "epsilonCutoff" | "etaCutoff"> {
  readonly numBeams: number;
  /** Sequences returned for a prompt: at most `numBeams` of several beams, any number when sampling with one. */
  readonly numReturnSequences: number;
  readonly maxNewTokens: number;
  /** Of prompt and new text together; absent: only `maxNewTokens` counts, else the smaller bound of the two. */
  readonly maxLength?: number;
  /** A sequence's score is the sum of its log-probabilities divided by length^lengthPenalty. */
  readonly lengthPenalty: number;
  /**
   * When a beam search ends: true as soon as `numBeams` sequences have ended; false when the best open beam, if it
   * ended now, could not enter them; "never" when it could not enter them at any length.
   */
  readonly earlyStopping: boolean | "never";
  /** No n-gram of this size occurs twice in prompt and new text together. 0: no rule. */
  readonly noRepeatNgramSize: number;
  readonly doSample: boolean;
  readonly temperature: number;
  /** Sampling considers this many tokens. 0: all of them. */
  readonly topK: number;
  /** Sampling considers the fewest tokens that have this probability together. 1: all of them. */
  readonly topP: number;
  /** Tokens that end a sequence. None: only the length does. */
  readonly eosIds: readonly number[];
  readonly padId: number;
}

/** Greedy, 16 new tokens, nothing banned; `eosIds` and `padId` are the model's and have no default. */
export const defaultDecodeSettings = {
  numBeams: 1,
  numReturnSequences: 1,
  maxNewTokens: 16,
  lengthPenalty: 1,
  earlyStopping: false,
  noRepeatNgramSize: 0,
  doSample: false,
  temperature: 1,
  topK: 0,
  topP: 1,
} as const satisfies Omit<DecodeSettings, "eosIds" | "padId">;

/** @throws {UserError} that names every setting out of its range, one a line */
export const checkDecodeSettings = (settings: DecodeSettings): void => {
  const faults: string[] = [];
  const whole = (name: keyof DecodeSettings, least: number): void => {
    const value = settings[name] as number;
    if (!Number.isSafeInteger(value) || value < least)
      faults.push(
        `${name}: found ${String(value)}, expected a whole number of at least ${String(least)}`,
      );
  };
  whole("numBeams", 1);
  whole("numReturnSequences", 1);
  whole("maxNewTokens", 1);
  whole("noRepeatNgramSize", 0);
  whole("topK", 0);
  const { numBeams, numReturnSequences, doSample, temperature, topP, lengthPenalty } = settings;
  if (numBeams > 1 && numReturnSequences > numBeams)
    faults.push(
      `numReturnSequences: found ${String(numReturnSequences)}, expected at most the ${String(numBeams)} beams`,
    );
  if (numBeams === 1 && !doSample && numReturnSequences > 1)
    faults.push(
      `numReturnSequences: found ${String(numReturnSequences)}, expected 1, since greedy decoding has one result`,
    );
  if (!Number.isFinite(lengthPenalty))
    faults.push(`lengthPenalty: found ${String(lengthPenalty)}, expected a finite number`);
  if (!(temperature > 0 && temperature < Infinity))
    faults.push(`temperature: found ${String(temperature)}, expected a number above 0`);
  if (!(topP >= 0 && topP <= 1))
    faults.push(`topP: found ${String(topP)}, expected a number from 0 to 1`);
  if (faults.length > 0)
    throw new UserError(
      faults.map((fault) => `Cannot decode with ${fault}`).join("\n"),
      "Change the flags of these names",
    );
};
