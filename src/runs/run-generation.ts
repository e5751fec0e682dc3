import { planned, type ComputeChoice, type Planned } from "../runtime/compute-plan.js";
import { UserError } from "../core/errors.js";
import { requireWritablePath } from "../core/atomic-file.js";
import { requireNewFiles } from "../core/new-file.js";
import { mostNewTokens } from "../decode/generate.js";
import {
  followGenerationConfig,
  type FollowedSettings,
  type GenerationField,
} from "../decode/generation-settings.js";
import { openEngine } from "../decode/open-engine.js";
import { generatedRows, readPromptRows } from "../decode/prompt-rows.js";
import { defaultDecodeSettings, type DecodeSettings } from "../decode/settings.js";
import { stopStringRule } from "../decode/stop-strings.js";
import type { LiveAdapter } from "../decode/decode-graph.js";
import { writeJsonl } from "../report/jsonl.js";
import type { ProgressUi } from "../report/progress.js";
import type { InterruptSignal } from "../train/interrupt.js";
import { requireKnownTokensOf, vocabularyOf } from "../train/known-tokens.js";
import { loadBase, type BaseModel, type BaseStorage } from "../train/load-base.js";
import { requireModelName } from "../train/model-name.js";
import { DEFAULT_SEED } from "../train/training-settings.js";
import { generateKeeping } from "./kept-answers.js";
import { openTrained } from "./open-trained.js";
import { announceFollowed } from "./predict.js";
import { deviceChecks } from "./device-checks.js";
import type { GivenFlags } from "./recorded-flags.js";

/** What `hira generate` was asked: a model, its adapter, the prompts, and how they are decoded. */
export interface GenerationRunOptions
  extends Omit<DecodeSettings, "eosIds" | "padId">, BaseStorage, ComputeChoice {
  /** What somebody has written; the model's folder decides the others. */
  readonly given: ReadonlySet<GenerationField>;
  /** The flags that somebody wrote to have an effect. */
  readonly typed: ReadonlySet<string>;
  /** The model, or the base of what --ckpt names, that somebody has named. */
  readonly modelName: string | undefined;
  /** The flags that somebody wrote. */
  readonly givenFlags?: GivenFlags;
  readonly ckpt: string | undefined;
  readonly loadOrder: number;
  readonly input: string;
  readonly out: string;
  readonly overwrite: boolean;
  readonly batch: number;
  readonly seed: number | undefined;
}

const open = async (
  options: GenerationRunOptions,
  ui: ProgressUi,
): Promise<{ readonly base: BaseModel; readonly adapted: LiveAdapter | undefined }> => {
  const { ckpt, modelName } = options;
  if (ckpt === undefined)
    return {
      base: await loadBase(requireModelName(modelName), { ...options, tokenizer: "optional" }, ui),
      adapted: undefined,
    };
  return openTrained({ ...options, ckpt, compat: new Set(), tokenizer: "optional" }, ui);
};

/**
 * `hira generate`: continues the prompts of a file; see readPromptRows and generatedRows for the two files' lines.
 *
 * What nobody has given, the model's folder decides, as with transformers' generate.
 * @throws {UserError} on rows that are no prompts, or settings out of range
 */
export const runGeneration = (
  options: GenerationRunOptions,
  ui: ProgressUi,
  interrupt: InterruptSignal,
): Promise<void> => planned(options, (known) => generate(known, ui, interrupt));

const generate = async (
  options: GenerationRunOptions & Planned,
  ui: ProgressUi,
  interrupt: InterruptSignal,
): Promise<void> => {
  await requireNewFiles([options.out], { flag: "--out", overwrite: options.overwrite });
  await requireWritablePath(options.out, "Choose another --out");
  const { base, adapted } = await open(options, ui);
  const { model } = base.folder;
  const { tokenizer } = base;
  requireKnownTokensOf(base, [], { usesTokenizer: true });
  const followed = settingsOf(options, base);
  if (options.typed.has("seed") && !followed.settings.doSample)
    ui.warn("Without effect here: --seed (without --do_sample=yes)");
  announceFollowed([followed], base.folder.generation.path, ui);
  const { settings, stopStrings } = followed;
  const prompts = await readPromptRows(options.input, { tokenizer, ...vocabularyOf(base) });
  const longest = prompts.reduce((most, { ids }) => Math.max(most, ids.length), 0);
  const engine = await openEngine({
    model,
    weights: base.weights,
    adapted,
    maxPositions: longest + mostNewTokens(prompts, settings),
    plan: options.plan,
    tellCheck: deviceChecks(options, ui),
  });
  try {
    const { sequences, done } = await generateKeeping(
      {
        engine,
        prompts,
        settings,
        ...(stopStrings.length > 0 &&
          tokenizer && { stops: stopStringRule(stopStrings, tokenizer) }),
        batch: options.batch,
        seed: options.seed ?? DEFAULT_SEED,
      },
      {
        ...{ path: options.out, told: "generate", unit: "prompts" },
        ...{ answerer: { base, adapted, plan: options.plan }, stopStrings, ui, interrupt },
      },
    );
    await writeJsonl(options.out, generatedRows(sequences, tokenizer));
    await done();
  } finally {
    engine.dispose();
  }
  ui.line(`Wrote ${options.out}`);
};

/** @throws {UserError} if a value is out of its range, or there is no tokenizer for stop strings */
const settingsOf = (
  options: GenerationRunOptions,
  { folder, tokenizer }: BaseModel,
): FollowedSettings => {
  const { numBeams, numReturnSequences, maxNewTokens, lengthPenalty, earlyStopping } = options;
  const { noRepeatNgramSize, doSample, temperature, topK, topP, given } = options;
  const { tokenIds, generation, model } = folder;
  const own: DecodeSettings = {
    ...defaultDecodeSettings,
    ...{ numBeams, numReturnSequences, maxNewTokens, lengthPenalty, earlyStopping },
    ...{ noRepeatNgramSize, doSample, temperature, topK, topP },
    eosIds: tokenIds.eosIds,
    padId: tokenIds.padId ?? tokenizer?.padId ?? 0,
  };
  const vocabularySize = model.vocabSize;
  const followed = followGenerationConfig(own, generation, { given, vocabularySize });
  if (followed.stopStrings.length > 0 && !tokenizer)
    throw new UserError(
      `Cannot decode as ${generation.path} says: found stop_strings and no tokenizer, expected one to compare texts`,
      "Put the model's tokenizer.json into its folder",
    );
  const { settings } = followed;
  requireSequences(settings);
  requireEffect(settings, options, generation.path);
  const { temperature: warmth, topK: best, topP: mass } = defaultDecodeSettings;
  return settings.doSample
    ? followed
    : { ...followed, settings: { ...settings, temperature: warmth, topK: best, topP: mass } };
};

/** @throws {UserError} naming flags that are without effect as the model's folder has the rest decoded */
const requireEffect = (
  { doSample, numBeams }: DecodeSettings,
  { typed }: Pick<GenerationRunOptions, "typed">,
  path: string,
): void => {
  const written = (...names: readonly string[]): string =>
    names
      .filter((name) => typed.has(name))
      .map((name) => `--${name}`)
      .join(", ");
  const drawing = doSample ? "" : written("temperature", "top_k", "top_p");
  const searching = numBeams > 1 ? "" : written("early_stopping");
  const found = [
    ...(drawing === "" ? [] : [`${drawing} (without --do_sample=yes)`]),
    ...(searching === "" ? [] : [`${searching} (without --beam_size above 1)`]),
  ];
  if (found.length > 0)
    throw new UserError(
      `Cannot use ${found.join(", ")}: found flags without effect here, expected a line without them`,
      `Nor does ${path} ask for sampling or for beams`,
    );
};

const requireSequences = ({ numReturnSequences, numBeams, doSample }: DecodeSettings): void => {
  if (numReturnSequences <= numBeams || (doSample && numBeams === 1)) return;
  throw new UserError(
    `Cannot generate with --num_return_sequences: found ${String(numReturnSequences)}, expected at most the ${String(numBeams)} of --beam_size`,
    "Give more beams, or draw texts with --do_sample=yes and one beam",
  );
};
