import { UserError, userErrorOfFaults } from "../core/errors.js";
import { quoteJson } from "../core/json-file.js";
import type { GenerationConfig, GenerationFile } from "../models/generation-config.js";
import type { DecodeSettings } from "./settings.js";

/** A field of DecodeSettings that a file may decide, or `stopStrings`, which becomes a StopRule. */
export type GenerationField = keyof GenerationConfig;

/** Which settings of generation_config.json count, and the size of the vocabulary that its token ids must lie in. */
export interface FollowOptions {
  /** Fields that somebody has given, so that the file's value does not count. */
  readonly given: ReadonlySet<GenerationField>;
  /** Fields that are never taken from a file, although transformers would: named in `left` where they differ. */
  readonly pinned?: ReadonlySet<GenerationField>;
  readonly vocabularySize: number;
}

/** Settings, with what a model's folder says of decoding. */
export interface FollowedSettings {
  readonly settings: DecodeSettings;
  readonly stopStrings: readonly string[];
  /** What the file has decided, each `repetition_penalty 1.2`. */
  readonly applied: readonly string[];
  /** Fields of the file that transformers would follow and that are not followed here, by name. */
  readonly left: readonly string[];
}

/** The name of a field in the file. */
const fileName = (field: string): string =>
  field.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** transformers' defaults of what sampling considers, where they are not DecodeSettings' own. */
const samplingDefaults = { temperature: 1, topK: 50, topP: 1 } as const;

const samplingFields: readonly GenerationField[] = [
  ...["temperature", "topK", "topP", "minP", "topH", "typicalP", "epsilonCutoff", "etaCutoff"],
] as GenerationField[];
const beamFields: readonly GenerationField[] = ["lengthPenalty", "earlyStopping"];

const isShare = (value: number): boolean => value > 0 && value < 1;

/** Fields whose value is one that changes nothing, by transformers' own conditions. */
const isIdle: {
  readonly [F in GenerationField]?: (value: NonNullable<GenerationConfig[F]>) => boolean;
} = {
  minP: (value) => value === 0,
  typicalP: (value) => value >= 1,
  epsilonCutoff: (value) => !isShare(value),
  etaCutoff: (value) => !isShare(value),
  repetitionPenalty: (value) => value === 1,
  encoderRepetitionPenalty: (value) => value === 1,
  encoderNoRepeatNgramSize: (value) => value <= 0,
  badWordsIds: (value) => value.length === 0,
  sequenceBias: (value) => value.length === 0,
  minLength: (value) => value <= 0,
  minNewTokens: (value) => value <= 0,
  suppressTokens: (value) => value.length === 0,
  beginSuppressTokens: (value) => value.length === 0,
  removeInvalidValues: (value) => !value,
  renormalizeLogits: (value) => !value,
  stopStrings: (value) => value.length === 0,
};

/** What a field has to be where it counts, and whether a value is so. The rest is checkDecodeSettings' to see. */
type Ranges = {
  readonly [F in GenerationField]?: readonly [
    expected: string,
    holds: (value: NonNullable<GenerationConfig[F]>) => boolean,
  ];
};

const rangesOf = (vocabularySize: number): Ranges => {
  const inVocabulary = (ids: readonly number[]): boolean => ids.every((id) => id < vocabularySize);
  const ids = `token ids below the vocabulary's ${String(vocabularySize)}`;
  return {
    temperature: ["a number above 0", (value) => value > 0],
    topK: ["a whole number of at least 0", (value) => value >= 0],
    topP: ["a number of at least 0", (value) => value >= 0],
    minP: ["a number from 0 to 1", (value) => value >= 0 && value <= 1],
    topH: ["a number above 0, and at most 1", (value) => value > 0 && value <= 1],
    typicalP: ["a number above 0", (value) => value > 0],
    repetitionPenalty: ["a number above 0", (value) => value > 0],
    encoderRepetitionPenalty: ["a number above 0", (value) => value > 0],
    badWordsIds: [ids, (value) => value.every(inVocabulary)],
    sequenceBias: [ids, (value) => value.every(([tokens]) => inVocabulary(tokens))],
    forcedBosTokenId: [ids, inVocabulary],
    forcedEosTokenId: [ids, inVocabulary],
  };
};

/** What transformers would do with this file besides, and what is not done here; by name. */
const unsupportedOf = (
  { raw }: GenerationFile,
  { numBeams, doSample, topK }: Pick<DecodeSettings, "numBeams" | "doSample" | "topK">,
): readonly string[] => {
  const value = (name: string): unknown => raw[name] ?? undefined;
  const above = (name: string, bound: number): boolean => Number(value(name) ?? 0) > bound;
  const plain = numBeams === 1;
  const asks: Readonly<Record<string, boolean>> = {
    num_beam_groups: !plain && above("num_beam_groups", 1),
    diversity_penalty: !plain && above("num_beam_groups", 1) && above("diversity_penalty", 0),
    // Without sampling the default of top_k counts.
    penalty_alpha:
      plain &&
      !doSample &&
      above("penalty_alpha", 0) &&
      (doSample ? topK : Number(value("top_k") ?? 50)) > 1,
    dola_layers: plain && value("dola_layers") !== undefined,
    watermarking_config: value("watermarking_config") !== undefined,
    guidance_scale: (value("guidance_scale") ?? 1) !== 1,
    force_words_ids: value("force_words_ids") !== undefined,
    constraints: value("constraints") !== undefined,
    forced_decoder_ids: value("forced_decoder_ids") !== undefined,
    max_time: value("max_time") !== undefined,
    token_healing: value("token_healing") === true,
    cache_implementation: value("cache_implementation") === "quantized",
  };
  return Object.keys(asks).filter((name) => asks[name] === true);
};

/** A value as one line has room for it. */
const shortText = (value: unknown): string => {
  const text = JSON.stringify(value);
  if (text.length <= 40 || !Array.isArray(value)) return text;
  return `${text.slice(0, 40)}... (${String(value.length)} in all)`;
};

/**
 * `settings` with what a model's folder says of decoding, for what nobody has given: as transformers' generate merges its arguments,
 * generation_config.json and its defaults.
 *
 * Where the file itself asks for sampling, a temperature, top-k and top-p that neither it nor anybody gives are transformers' defaults.
 * Source: GenerationMixin._prepare_generation_config, _prepare_generated_length and _get_logits_processor of transformers 5.23.
 * @throws {UserError} that lists every field that counts and is out of its range
 */
export const followGenerationConfig = (
  settings: DecodeSettings,
  file: GenerationFile,
  { given, pinned = new Set(), vocabularySize }: FollowOptions,
): FollowedSettings => {
  const config: GenerationConfig = file.config;
  const takes = (field: GenerationField): boolean =>
    config[field] !== undefined && !given.has(field) && !pinned.has(field);
  const pick = <F extends keyof DecodeSettings & GenerationField>(field: F): DecodeSettings[F] =>
    takes(field) ? (config[field] as DecodeSettings[F]) : settings[field];
  const doSample = pick("doSample");
  const numBeams = pick("numBeams");

  const counts = (field: GenerationField): boolean => {
    const value = config[field];
    if (value === undefined || !takes(field)) return false;
    if (!doSample && samplingFields.includes(field)) return false;
    if (numBeams === 1 && beamFields.includes(field)) return false;
    if (field === "maxLength" && (given.has("maxNewTokens") || takes("maxNewTokens"))) return false;
    if (field === "minLength" && takes("minNewTokens")) return false;
    const needsEos: readonly GenerationField[] = [
      "minLength",
      "minNewTokens",
      "exponentialDecayLengthPenalty",
    ];
    if (settings.eosIds.length === 0 && needsEos.includes(field)) return false;
    if (field === "renormalizeLogits" && numBeams === 1) return false;
    const idle = isIdle[field] as ((value: unknown) => boolean) | undefined;
    return !(idle?.(value) ?? false);
  };
  const fields = (Object.keys(config) as GenerationField[]).filter(counts);
  requireRanges(fields, file, vocabularySize);

  const { maxLength, topP, stopStrings = [] } = config;
  const drawsAsFile = doSample && takes("doSample");
  const open = Object.entries(samplingDefaults).filter(
    ([name, value]) =>
      drawsAsFile &&
      !given.has(name as GenerationField) &&
      config[name as GenerationField] === undefined &&
      settings[name as keyof DecodeSettings] !== value,
  );
  const changes: Partial<Record<GenerationField, unknown>> = {
    ...Object.fromEntries(open),
    ...Object.fromEntries(fields.map((field) => [field, config[field]])),
    ...(fields.includes("topP") && { topP: Math.min(1, topP ?? 1) }),
    ...(fields.includes("noRepeatNgramSize") && {
      noRepeatNgramSize: Math.max(0, config.noRepeatNgramSize ?? 0),
    }),
    ...(fields.includes("maxLength") && { maxNewTokens: maxLength }),
  };
  delete changes.stopStrings;
  const applied = fields.filter(
    (field) =>
      changes[field] !== settings[field as keyof DecodeSettings] || field === "stopStrings",
  );
  const differs = (field: GenerationField): boolean =>
    config[field] !== undefined &&
    pinned.has(field) &&
    config[field] !== settings[field as keyof DecodeSettings];
  const merged = { ...settings, ...(changes as Partial<DecodeSettings>) };
  requireSequences(merged, file, given);
  return {
    settings: merged,
    stopStrings: fields.includes("stopStrings") ? stopStrings : [],
    applied: [
      ...applied.map((field) => `${fileName(field)} ${shortText(config[field])}`),
      ...open.map(([name, value]) => `${fileName(name)} ${String(value)} (transformers' default)`),
    ],
    left: [...[...pinned].filter(differs).map(fileName), ...unsupportedOf(file, merged)],
  };
};

const saysIn = ({ path }: GenerationFile): string => `Cannot decode as ${path} says`;
const hint = "Correct the file, or give a flag of this name where there is one";

const requireRanges = (
  fields: readonly GenerationField[],
  file: GenerationFile,
  vocabularySize: number,
): void => {
  const ranges = rangesOf(vocabularySize);
  const { config } = file;
  const faults = fields.flatMap((field) => {
    const [expected, holds] = (ranges[field] ?? []) as readonly [
      string?,
      ((value: unknown) => boolean)?,
    ];
    if (!expected || !holds || holds(config[field])) return [];
    return [`"${fileName(field)}": found ${quoteJson(config[field])}, expected ${expected}`];
  });
  for (const field of ["forcedBosTokenId", "forcedEosTokenId"] as const) {
    const forced = config[field];
    const suppressed = new Set(config.suppressTokens);
    if (fields.includes(field) && forced?.every((id) => suppressed.has(id)) === true)
      faults.push(
        `"${fileName(field)}": found ${quoteJson(forced)}, expected a token that suppress_tokens does not forbid`,
      );
  }
  if (faults.length > 0) throw userErrorOfFaults(saysIn(file), faults, hint);
};

/** Whether there are as many sequences as are to be returned, where the file has a say in it. */
const requireSequences = (
  { numReturnSequences: wanted, numBeams, doSample }: DecodeSettings,
  file: GenerationFile,
  given: ReadonlySet<GenerationField>,
): void => {
  const fromFile = file.config.numReturnSequences === wanted && !given.has("numReturnSequences");
  const most = numBeams > 1 ? numBeams : doSample ? Infinity : 1;
  if (!fromFile || wanted <= most) return;
  throw new UserError(
    `${saysIn(file)}: "num_return_sequences": found ${String(wanted)}, expected at most ${String(most)}, as there are ${numBeams > 1 ? "beams" : "texts in greedy decoding"}`,
    hint,
  );
};
