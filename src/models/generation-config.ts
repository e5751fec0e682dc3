import { userErrorOfFaults } from "../core/errors.js";
import type { JsonObject } from "../core/json-file.js";
import { flag, JsonFields, size, type Kind } from "../core/json-fields.js";
import { isJsonObject } from "../core/json.js";

/**
 * What a model's folder says of decoding: the fields that are there, in their types. Names and meanings are those of
 * transformers' GenerationConfig.
 *
 * Token ids of bos, eos and pad are SpecialTokenIds.
 */
export interface GenerationConfig {
  readonly doSample?: boolean;
  readonly numBeams?: number;
  readonly numReturnSequences?: number;
  /** Of prompt and new text together; counts where `maxNewTokens` does not. */
  readonly maxLength?: number;
  readonly maxNewTokens?: number;
  readonly earlyStopping?: boolean | "never";
  readonly lengthPenalty?: number;
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;

  // What sampling cuts away, besides top-k and top-p.
  /** Tokens with less than this share of the best one's probability. */
  readonly minP?: number;
  /** Tokens beyond this share of the entropy, of the 100 best. */
  readonly topH?: number;
  /** All but the tokens that are nearest to the expected surprise and have this probability together. */
  readonly typicalP?: number;
  /** Tokens below this probability. */
  readonly epsilonCutoff?: number;
  /** Tokens below a probability that falls with the entropy. */
  readonly etaCutoff?: number;

  // What is forbidden or favoured, given the text so far.
  /** Scores of tokens seen before: divided by this where above 0, else multiplied. */
  readonly repetitionPenalty?: number;
  /** The inverse, for tokens of the prompt. */
  readonly encoderRepetitionPenalty?: number;
  readonly noRepeatNgramSize?: number;
  /** No n-gram of the prompt occurs in the new text. */
  readonly encoderNoRepeatNgramSize?: number;
  /** Sequences of tokens that must not be completed. */
  readonly badWordsIds?: readonly (readonly number[])[];
  /** What is added to the score of a token that completes one of these sequences. */
  readonly sequenceBias?: readonly (readonly [tokens: readonly number[], bias: number])[];
  /** No eos before this length of prompt and new text together. */
  readonly minLength?: number;
  readonly minNewTokens?: number;
  /** Instead of any other token behind a prompt of one token. */
  readonly forcedBosTokenId?: readonly number[];
  /** Instead of any other token where the length ends the text. */
  readonly forcedEosTokenId?: readonly number[];
  readonly suppressTokens?: readonly number[];
  /** As the first new token. */
  readonly beginSuppressTokens?: readonly number[];
  /** From this new token on, the eos tokens' scores grow by |score| * (factor^(tokens since then) - 1). */
  readonly exponentialDecayLengthPenalty?: readonly [start: number, factor: number];
  /** Whether what is forbidden scores as the least float32, not as -Infinity. */
  readonly removeInvalidValues?: boolean;
  /** Whether scores are log-probabilities again after all of this. */
  readonly renormalizeLogits?: boolean;

  /** Texts that end a sequence. */
  readonly stopStrings?: readonly string[];
}

/** The decoding fields of a file, checked; see readGenerationConfig. */
export interface GenerationFile {
  /** Of generation_config.json, or of config.json where that is missing. */
  readonly path: string;
  readonly config: GenerationConfig;
  /** The whole file. Of fields that are not supported, at least the types are right. */
  readonly raw: JsonObject;
}

const isWhole = (value: unknown): value is number => Number.isSafeInteger(value);
const isNumber = (value: unknown): value is number =>
  typeof value === "number" && Number.isFinite(value);
const isId = (value: unknown): value is number => isWhole(value) && value >= 0;
const isListOf = <T>(value: unknown, is: (item: unknown) => item is T): value is readonly T[] =>
  Array.isArray(value) && value.every(is);
const isIds = (value: unknown): value is readonly number[] =>
  isListOf(value, isId) && value.length > 0;
const isBias = (value: unknown): value is readonly [readonly number[], number] =>
  Array.isArray(value) && value.length === 2 && isIds(value[0]) && isNumber(value[1]);
const isText = (value: unknown): value is string => typeof value === "string";

const kind = <T>(name: string, is: (value: unknown) => value is T): Kind<T> => ({ name, is });
const whole = kind("a whole number", isWhole);
const number = kind("a number", isNumber);
const wholes = kind("a list of token ids", (value) => isListOf(value, isWhole));
const list = kind("a list", (value): value is readonly unknown[] => Array.isArray(value));
const object = kind("an object", isJsonObject);
const oneOrMore = <T>(name: string, is: (value: unknown) => value is T): Kind<T | readonly T[]> =>
  kind(name, (value): value is T | readonly T[] => is(value) || isListOf(value, is));
const idOrIds = oneOrMore("a token id or a list of them", isId);
const textOrTexts = oneOrMore("a text or a list of texts", isText);

/** Fields of which no value but the default is supported: only their types are looked at. */
const unsupported: Readonly<Record<string, Kind<unknown>>> = {
  num_beam_groups: whole,
  diversity_penalty: number,
  penalty_alpha: number,
  dola_layers: kind(
    "a text or a list of layers",
    (value): value is unknown => isText(value) || isListOf(value, isWhole),
  ),
  watermarking_config: object,
  guidance_scale: number,
  force_words_ids: list,
  constraints: list,
  forced_decoder_ids: list,
  max_time: number,
  token_healing: flag,
  cache_implementation: kind("a text", isText),
};

/**
 * Reads the decoding fields of a generation_config.json, or of an old model's config.json. Null is as good as absent.
 *
 * Whether numbers are in their ranges is seen where they are used: a temperature of 0 does no harm without sampling.
 * @throws {UserError} one that lists every field of a wrong type
 */
export const readGenerationConfig = (raw: JsonObject, path: string): GenerationFile => {
  const faults: string[] = [];
  const fields = new JsonFields(raw, "", faults);
  const read = <T>(name: string, kindOf: Kind<T>): T | undefined =>
    fields.optional<T | undefined>(
      name,
      { name: kindOf.name, is: (value): value is T | undefined => kindOf.is(value) },
      undefined,
    );
  const readList = <T>(name: string, kindOf: Kind<T | readonly T[]>): readonly T[] | undefined => {
    const value = read(name, kindOf);
    return value === undefined ? undefined : ([value].flat() as readonly T[]);
  };
  const found: {
    readonly [F in keyof Required<GenerationConfig>]: GenerationConfig[F] | undefined;
  } = {
    doSample: read("do_sample", flag),
    numBeams: read("num_beams", size),
    numReturnSequences: read("num_return_sequences", size),
    maxLength: read("max_length", size),
    maxNewTokens: read("max_new_tokens", size),
    earlyStopping: read(
      "early_stopping",
      kind(
        'true, false or "never"',
        (value): value is boolean | "never" => typeof value === "boolean" || value === "never",
      ),
    ),
    lengthPenalty: read("length_penalty", number),
    temperature: read("temperature", number),
    topK: read("top_k", whole),
    topP: read("top_p", number),
    minP: read("min_p", number),
    topH: read("top_h", number),
    typicalP: read("typical_p", number),
    epsilonCutoff: read("epsilon_cutoff", number),
    etaCutoff: read("eta_cutoff", number),
    repetitionPenalty: read("repetition_penalty", number),
    encoderRepetitionPenalty: read("encoder_repetition_penalty", number),
    noRepeatNgramSize: read("no_repeat_ngram_size", whole),
    encoderNoRepeatNgramSize: read("encoder_no_repeat_ngram_size", whole),
    badWordsIds: read(
      "bad_words_ids",
      kind("a list of lists of token ids", (value) => isListOf(value, isIds)),
    ),
    sequenceBias: read(
      "sequence_bias",
      kind("a list of pairs, [[token ids], bias]", (value) => isListOf(value, isBias)),
    ),
    minLength: read("min_length", whole),
    minNewTokens: read("min_new_tokens", whole),
    forcedBosTokenId: readList("forced_bos_token_id", idOrIds),
    forcedEosTokenId: readList("forced_eos_token_id", idOrIds),
    suppressTokens: read("suppress_tokens", wholes),
    beginSuppressTokens: read("begin_suppress_tokens", wholes),
    exponentialDecayLengthPenalty: read(
      "exponential_decay_length_penalty",
      kind(
        "a pair, [first token, factor]",
        (value): value is readonly [number, number] =>
          Array.isArray(value) && value.length === 2 && isWhole(value[0]) && isNumber(value[1]),
      ),
    ),
    removeInvalidValues: read("remove_invalid_values", flag),
    renormalizeLogits: read("renormalize_logits", flag),
    stopStrings: readList("stop_strings", textOrTexts),
  };
  for (const [name, kindOf] of Object.entries(unsupported)) read(name, kindOf);
  if (faults.length > 0) throw userErrorOfFaults(`Cannot load ${path}`, faults);
  const there = Object.entries(found).filter(([, value]) => value !== undefined);
  return { path, config: Object.fromEntries(there), raw };
};
