import type { ProcessGroup } from "../distributed/process-group.js";
import type { Planned } from "../runtime/compute-plan.js";
import type { Compat } from "../core/compat.js";
import { greedy } from "../datasets/family.js";
import type { AnsweredSet } from "../datasets/own-answers.js";
import { questionOf } from "../datasets/rows.js";
import type { LiveAdapter } from "../decode/decode-graph.js";
import type { ModelEngine } from "../decode/engine.js";
import {
  followGenerationConfig,
  type FollowedSettings,
  type GenerationField,
} from "../decode/generation-settings.js";
import { openEngine } from "../decode/open-engine.js";
import { defaultDecodeSettings, type DecodeSettings } from "../decode/settings.js";
import { stopStringRule } from "../decode/stop-strings.js";
import type { GenerationFile } from "../models/generation-config.js";
import type { ModelFolder } from "../models/model-folder.js";
import type { PredictionRow } from "../report/output-jsonl.js";
import type { ProgressUi } from "../report/progress.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";
import type { TellCheck } from "../train/device-check.js";
import type { BaseModel } from "../train/load-base.js";
import type { InterruptSignal } from "../train/interrupt.js";
import { DEFAULT_SEED } from "../train/training-settings.js";
import { answerByLetters, answersByLetters } from "./answer-letters.js";
import { generateKeeping, type Answerer } from "./kept-answers.js";
import { predictionText } from "./prediction-text.js";
import type { Questions } from "./questions.js";
import type { PredictionSettings } from "./prediction-settings.js";

/** A model that answers: its engine, and what turns text into tokens and back. */
export interface Predictor {
  readonly answerer: Answerer;
  readonly engine: ModelEngine;
  readonly tokenizer: Tokenizer;
  /** Tokens that end an answer. */
  readonly eosIds: readonly number[];
  /** What the model's folder says of decoding. */
  readonly generation: GenerationFile;
  dispose(): void;
}

/** Of a model, what decides how its answers are decoded. */
export interface AnsweringModel {
  readonly folder: Pick<ModelFolder, "tokenIds" | "generation" | "model">;
  readonly tokenizer: Pick<Tokenizer, "eosId" | "padId">;
  /** Of what was trained. */
  readonly kind: LiveAdapter["adapter"]["method"]["kind"] | undefined;
}

/**
 * Where answers end, and what else the model's folder says of decoding.
 *
 * Answers end at the model's eos tokens and at the tokenizer's, which training has taught. compat "text": full fine-tuning
 * never stops, as the authors' program gives it another generation config, and other methods stop at the model's eos alone.
 */
const endsOf = (
  { folder, tokenizer, kind }: AnsweringModel,
  compat: Compat,
): Pick<Predictor, "eosIds" | "generation"> => {
  const { generation, tokenIds } = folder;
  if (!compat.has("text")) {
    const taught = tokenizer.eosId === undefined ? [] : [tokenizer.eosId];
    return { generation, eosIds: [...new Set([...tokenIds.eosIds, ...taught])] };
  }
  return kind === "full"
    ? { generation: { path: generation.path, config: {}, raw: {} }, eosIds: [] }
    : { generation, eosIds: tokenIds.eosIds };
};

/** Opens a model, with an adapter in it, for the prompts of `datasets`. */
export const openPredictor = async (
  base: BaseModel,
  tokenizer: Tokenizer,
  adapted: LiveAdapter | undefined,
  datasets: readonly AnsweredSet[],
  settings: Pick<PredictionSettings, "maxNewTokens" | "compat"> &
    Planned & {
      /** Where the device is compared with the CPU first, who is told. */
      readonly tellCheck?: TellCheck | undefined;
    },
): Promise<Predictor> => {
  const longest = datasets.map(
    ({ member }) => member.maxContextTokens + (settings.maxNewTokens ?? member.maxNewTokens),
  );
  const engine = await openEngine({
    model: base.folder.model,
    weights: base.weights,
    adapted,
    maxPositions: Math.max(...longest),
    plan: settings.plan,
    tellCheck: settings.tellCheck,
  });
  const kind = adapted?.adapter.method.kind;
  return {
    answerer: { base, adapted, plan: settings.plan },
    engine,
    tokenizer,
    ...endsOf({ folder: base.folder, tokenizer, kind }, settings.compat),
    dispose: () => {
      engine.dispose();
    },
  };
};

/** How a set is decoded: the table's way, with what the flags may change of it. */
export const decodeSettingsOf = (
  { member }: AnsweredSet,
  settings: PredictionSettings,
  { eosIds, padId }: { readonly eosIds: readonly number[]; readonly padId: number },
): DecodeSettings => {
  const { beams, lengthPenalty, noRepeatNgramSize, adjustable } =
    settings.decoding === "greedy" ? greedy : member.decoding;
  const samples = adjustable && settings.doSample;
  return {
    ...defaultDecodeSettings,
    numBeams: adjustable ? (settings.beamSize ?? beams) : beams,
    maxNewTokens: settings.maxNewTokens ?? member.maxNewTokens,
    lengthPenalty,
    noRepeatNgramSize,
    doSample: samples,
    ...(samples && {
      temperature: settings.temperature,
      topK: settings.topK,
      topP: settings.topP,
    }),
    eosIds,
    padId,
  };
};

/** What the original passes to generate for every set. */
const givenAlways: readonly GenerationField[] = [
  "maxNewTokens",
  "doSample",
  "temperature",
  "topK",
  "topP",
];

/**
 * How a set is decoded, with what the model's folder says where the original passes nothing to generate: then its generate takes the
 * folder's value. One answer a row and one beam where the set is greedy are kept, whatever the folder says.
 *
 * @throws {UserError} if a value that counts is out of its range
 */
const followedSettings = (
  dataset: AnsweredSet,
  settings: PredictionSettings,
  {
    generation,
    eosIds,
    padId,
    vocabularySize,
  }: Pick<Predictor, "generation" | "eosIds"> & {
    readonly padId: number;
    readonly vocabularySize: number;
  },
): FollowedSettings => {
  const own = decodeSettingsOf(dataset, settings, { eosIds, padId });
  const { adjustable, lengthPenalty, noRepeatNgramSize } =
    settings.decoding === "greedy" ? greedy : dataset.member.decoding;
  const given = new Set(givenAlways);
  const pinned = new Set<GenerationField>(["numReturnSequences"]);
  (adjustable ? given : pinned).add("numBeams");
  if (lengthPenalty !== defaultDecodeSettings.lengthPenalty) given.add("lengthPenalty");
  if (noRepeatNgramSize !== defaultDecodeSettings.noRepeatNgramSize) given.add("noRepeatNgramSize");
  return followGenerationConfig(own, generation, { given, pinned, vocabularySize });
};

/**
 * Says what the model's folder decides of the answers to these sets, and what it asks for that is not done: a line each, at most.
 *
 * @throws {UserError} if a value that counts is out of its range
 */
export const announceDecoding = (
  datasets: readonly AnsweredSet[],
  model: AnsweringModel,
  settings: PredictionSettings,
  ui: ProgressUi,
): void => {
  const ends = {
    ...endsOf(model, settings.compat),
    padId: model.tokenizer.padId,
    vocabularySize: model.folder.model.vocabSize,
  };
  const followed = datasets
    .filter((dataset) => !answersByLetters(dataset, settings))
    .map((dataset) => followedSettings(dataset, settings, ends));
  announceFollowed(followed, ends.generation.path, ui);
};

/** The lines of announceDecoding for settings at hand. */
export const announceFollowed = (
  followed: readonly Pick<FollowedSettings, "applied" | "left">[],
  path: string,
  ui: ProgressUi,
): void => {
  const applied = new Set(followed.flatMap((settings) => settings.applied));
  const left = new Set(followed.flatMap((settings) => settings.left));
  if (applied.size > 0) ui.line(`Decoding as ${path} says: ${[...applied].join(", ")}`);
  if (left.size > 0)
    ui.warn(
      `${path} asks for what is not done here: ${[...left].join(", ")}; transformers' generate would`,
    );
};

/**
 * Answers the questions of a set, and writes the answers: a row for each, in the file's order.
 *
 * Rows at a time are --batch, divided as the original divides it. Answers are kept beside `path` until `write` has written them,
 * see generateKeeping.
 * @throws {InterruptedError} after a signal
 */
export const answerSet = async (
  questions: Questions,
  predictor: Predictor,
  settings: PredictionSettings,
  {
    path,
    write,
    ui,
    interrupt,
    group,
  }: {
    readonly path: string;
    /** The processes that answer together; process 0 has all rows. */
    readonly group?: ProcessGroup | undefined;
    /** @param accuracyPercent where the set is answered by letters */
    readonly write: (rows: readonly PredictionRow[], accuracyPercent?: number) => Promise<void>;
    readonly ui: ProgressUi;
    readonly interrupt: InterruptSignal;
  },
): Promise<readonly PredictionRow[]> => {
  const { dataset, rows, prompts } = questions;
  const { tokenizer, engine } = predictor;
  const { member, name } = dataset;
  const { compat } = settings;
  const batch = Math.max(1, Math.floor(settings.batch / member.evaluationBatchDivisor));
  const isFollower = group !== undefined && group.rank > 0;
  if (answersByLetters(dataset, settings)) {
    const found = await answerByLetters(questions, predictor, {
      ...{ path, batch, ui, interrupt, group },
    });
    if (isFollower) return [];
    await write(found.rows, found.accuracyPercent);
    await found.done();
    return found.rows;
  }
  const { settings: decoding, stopStrings } = followedSettings(dataset, settings, {
    ...predictor,
    padId: tokenizer.padId,
    vocabularySize: engine.vocabularySize,
  });
  const { sequences, done } = await generateKeeping(
    {
      engine,
      prompts,
      settings: decoding,
      ...(stopStrings.length > 0 && { stops: stopStringRule(stopStrings, tokenizer) }),
      batch,
      seed: settings.seed ?? DEFAULT_SEED,
    },
    {
      path,
      told: name,
      unit: "rows",
      answerer: predictor.answerer,
      stopStrings,
      ui,
      interrupt,
      group,
    },
  );
  if (isFollower) return [];
  const answers = rows.map((row, i) => {
    const best = sequences[i]?.[0];
    const tokens = best?.tokens ?? [];
    const ended = best?.stoppedBy === "eos" && !compat.has("text");
    return {
      context: questionOf(row),
      pred: predictionText(ended ? tokens.slice(0, -1) : tokens, tokenizer, compat),
      gt: row.target,
    };
  });
  await write(answers);
  await done();
  return answers;
};
