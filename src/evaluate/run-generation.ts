import { requireNewFiles } from "../core/new-file.js";
import { generate } from "../decode/generate.js";
import { openEngine } from "../decode/open-engine.js";
import { generatedRows, readPromptRows } from "../decode/prompt-rows.js";
import { defaultDecodeSettings, type DecodeSettings } from "../decode/settings.js";
import type { LiveAdapter } from "../decode/decode-graph.js";
import { writeJsonl } from "../report/jsonl.js";
import type { ProgressUi } from "../report/progress.js";
import type { InterruptSignal } from "../train/interrupt.js";
import { loadBase, type BaseModel, type BaseStorage } from "../train/load-base.js";
import { DEFAULT_SEED } from "../train/train-adapter.js";
import { openTrained } from "./open-trained.js";

export interface GenerationRunOptions
  extends Omit<DecodeSettings, "eosIds" | "padId">, BaseStorage {
  readonly modelName: string;
  readonly ckpt: string | undefined;
  readonly loadOrder: number;
  readonly threads: number | undefined;
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
      base: await loadBase(modelName, { ...options, tokenizer: "optional" }, ui),
      adapted: undefined,
    };
  return openTrained({ ...options, ckpt, compat: new Set(), tokenizer: "optional" }, ui);
};

/**
 * `hira generate`: continues the prompts of a file; see readPromptRows and generatedRows for the two files' lines.
 *
 * @throws {UserError} on rows that are no prompts, or settings out of range
 */
export const runGeneration = async (
  options: GenerationRunOptions,
  ui: ProgressUi,
  interrupt: InterruptSignal,
): Promise<void> => {
  await requireNewFiles([options.out], { flag: "--out", overwrite: options.overwrite });
  const { base, adapted } = await open(options, ui);
  const { config, tokenIds } = base.folder;
  const { tokenizer } = base;
  const prompts = await readPromptRows(options.input, {
    tokenizer,
    vocabularySize: config.vocabSize,
  });
  const longest = prompts.reduce((most, { ids }) => Math.max(most, ids.length), 0);
  const engine = await openEngine({
    config,
    weights: base.weights,
    adapted,
    maxPositions: longest + options.maxNewTokens,
    ...(options.threads !== undefined && { threads: options.threads }),
  });
  const progress = ui.decoding(prompts.length, "generate", "prompts");
  let shown = 0;
  try {
    const found = await generate({
      engine,
      prompts,
      settings: settingsOf(options, tokenIds.eosIds, tokenIds.padId ?? tokenizer?.padId ?? 0),
      batch: options.batch,
      seed: options.seed ?? DEFAULT_SEED,
      signal: interrupt.abort,
      onProgress: ({ finished }) => {
        progress.advance(finished - shown);
        shown = finished;
      },
    });
    await writeJsonl(options.out, generatedRows(found, tokenizer));
  } finally {
    progress.done();
    engine.dispose();
  }
  ui.line(`Wrote ${options.out}`);
};

const settingsOf = (
  options: GenerationRunOptions,
  eosIds: readonly number[],
  padId: number,
): DecodeSettings => {
  const { numBeams, numReturnSequences, maxNewTokens, lengthPenalty, earlyStopping } = options;
  const { noRepeatNgramSize, doSample, temperature, topK, topP } = options;
  return {
    ...defaultDecodeSettings,
    ...{ numBeams, numReturnSequences, maxNewTokens, lengthPenalty, earlyStopping },
    ...{ noRepeatNgramSize, doSample },
    ...(doSample && { temperature, topK, topP }),
    ...{ eosIds, padId },
  };
};
