import type { Compat } from "../core/compat.js";
import { resolveDataRoot } from "../datasets/data-root.js";
import { encodePrompts, listRows } from "../datasets/encode-rows.js";
import { greedy } from "../datasets/family.js";
import { loadSplit } from "../datasets/load-split.js";
import type { Dataset } from "../datasets/registry.js";
import type { LiveAdapter } from "../decode/decode-graph.js";
import type { LlamaEngine } from "../decode/engine.js";
import { generate } from "../decode/generate.js";
import { openEngine } from "../decode/open-engine.js";
import { defaultDecodeSettings, type DecodeSettings } from "../decode/settings.js";
import type { PredictionRow } from "../report/output-jsonl.js";
import type { ProgressUi } from "../report/progress.js";
import { tokenCacheFolder } from "../tokenizer/token-cache.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";
import type { BaseModel } from "../train/load-base.js";
import { DEFAULT_SEED } from "../train/train-adapter.js";
import { predictionText } from "./prediction-text.js";

/** The flags that decide how a split is answered; see cli/options.ts. */
export interface PredictionSettings {
  readonly batch: number;
  readonly beamSize: number | undefined;
  readonly maxNewTokens: number | undefined;
  readonly doSample: boolean;
  readonly decoding: "default" | "greedy";
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly seed: number | undefined;
  /** Only the first rows of the split. */
  readonly limit: number | undefined;
  readonly dataDir: string | undefined;
  readonly datasetRatio: number;
  readonly numWorkers: number;
  readonly threads: number | undefined;
  readonly compat: Compat;
}

/** A model that answers: its engine, and what turns text into tokens and back. */
export interface Predictor {
  readonly engine: LlamaEngine;
  readonly tokenizer: Tokenizer;
  /** Tokens that end an answer. */
  readonly eosIds: readonly number[];
  dispose(): void;
}

/**
 * Opens a model, with an adapter in it, for the prompts of `datasets`.
 *
 * Answers end at the model's eos tokens and at the tokenizer's, which training has taught. compat "text": full fine-tuning
 * never stops, and other methods stop at the model's alone, as in the authors' program.
 */
export const openPredictor = async (
  base: BaseModel,
  tokenizer: Tokenizer,
  adapted: LiveAdapter | undefined,
  datasets: readonly Dataset[],
  settings: Pick<PredictionSettings, "maxNewTokens" | "threads" | "compat">,
): Promise<Predictor> => {
  const longest = datasets.map(
    ({ member }) => member.maxContextTokens + (settings.maxNewTokens ?? member.maxNewTokens),
  );
  const engine = await openEngine({
    config: base.folder.config,
    weights: base.weights,
    adapted,
    maxPositions: Math.max(...longest),
    ...(settings.threads !== undefined && { threads: settings.threads }),
  });
  const own = base.folder.tokenIds.eosIds;
  const asOriginal = settings.compat.has("text");
  const never = asOriginal && adapted?.adapter.method.kind === "full";
  const taught = asOriginal || tokenizer.eosId === undefined ? [] : [tokenizer.eosId];
  return {
    engine,
    tokenizer,
    eosIds: never ? [] : [...new Set([...own, ...taught])],
    dispose: () => {
      engine.dispose();
    },
  };
};

/** How a set is decoded: the table's way, with what the flags may change of it. */
export const decodeSettingsOf = (
  { member }: Dataset,
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

/**
 * Answers the test split of a set: a row for each, in the file's order.
 *
 * Rows at a time are --batch, divided as the original divides it.
 * @throws {UserError} on missing or broken data; the reason of `signal` once it is aborted
 */
export const predictSet = async (
  dataset: Dataset,
  predictor: Predictor,
  settings: PredictionSettings,
  ui: ProgressUi,
  signal?: AbortSignal,
): Promise<readonly PredictionRow[]> => {
  const { tokenizer, engine, eosIds } = predictor;
  const { member, name } = dataset;
  const { compat } = settings;
  const root = await resolveDataRoot({ dataDir: settings.dataDir });
  const loaded = await loadSplit(dataset, "test", { root, ratio: settings.datasetRatio, compat });
  const rows = loaded.rows.slice(0, settings.limit);
  const prompts = await encodePrompts(rows, {
    tokenizer,
    template: member.template,
    maxContextTokens: member.maxContextTokens,
    compat,
    path: loaded.path,
    encoding: {
      cacheFolder: tokenCacheFolder(),
      ...(settings.numWorkers > 0 && { workers: settings.numWorkers }),
    },
  });
  if (prompts.cutContexts.length > 0)
    ui.warn(
      `${loaded.path}: ${String(prompts.cutContexts.length)} contexts are cut at the length limit (${listRows(prompts.cutContexts)})`,
    );
  const progress = ui.decoding(rows.length, name, "rows");
  let shown = 0;
  try {
    const sequences = await generate({
      engine,
      prompts: prompts.rows,
      settings: decodeSettingsOf(dataset, settings, { eosIds, padId: tokenizer.padId }),
      batch: Math.max(1, Math.floor(settings.batch / member.evaluationBatchDivisor)),
      seed: settings.seed ?? DEFAULT_SEED,
      signal,
      onProgress: ({ finished }) => {
        progress.advance(finished - shown);
        shown = finished;
      },
    });
    return rows.map(({ context, target }, i) => {
      const best = sequences[i]?.[0];
      const tokens = best?.tokens ?? [];
      const ended = best?.stoppedBy === "eos" && !compat.has("text");
      return {
        context,
        pred: predictionText(ended ? tokens.slice(0, -1) : tokens, tokenizer, compat),
        gt: target,
      };
    });
  } finally {
    progress.done();
  }
};
