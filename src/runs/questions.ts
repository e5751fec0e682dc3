import { listRows } from "../core/row-names.js";
import type { UnknownTokens } from "../core/unknown-tokens.js";
import { resolveDataRoot } from "../datasets/data-root.js";
import type { EncodedRow } from "../datasets/encoded-rows.js";
import { encodePrompts } from "../datasets/encode-rows.js";
import type { AnsweredSet } from "../datasets/own-answers.js";
import { inputWarning, loadSplit, remarkLines } from "../datasets/load-split.js";
import type { Dataset } from "../datasets/registry.js";
import type { Row } from "../datasets/rows.js";
import { tokenCacheFolder } from "../tokenizer/token-cache.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";
import { unknownTokensOfRows, vocabularyOf } from "../train/known-tokens.js";
import type { BaseModel } from "../train/load-base.js";
import type { PredictionSettings } from "./prediction-settings.js";

/** The rows of a set that are to be answered, as text and as prompts. */
export interface Questions {
  readonly dataset: AnsweredSet;
  /** Their file. */
  readonly path: string;
  readonly rows: readonly Row[];
  readonly prompts: readonly EncodedRow[];
  /** What the rows of a file were taken for. */
  readonly remarks?: readonly string[];
  /** What the person has to know: inputs that are dropped, contexts that are cut. */
  readonly warnings: readonly string[];
  /** Tokens that the model has no embedding for; see requireKnownTokensOf. */
  readonly unknown: readonly UnknownTokens[];
}

/**
 * Loads and encodes the test split of a set, or its first `limit` rows.
 *
 * @param inputAdvice what to do about inputs that are dropped, see inputWarning
 * @throws {UserError} on missing or broken data
 */
export const loadQuestions = async (
  dataset: Dataset,
  base: BaseModel,
  tokenizer: Tokenizer,
  settings: Pick<
    PredictionSettings,
    "compat" | "dataDir" | "datasetRatio" | "limit" | "numWorkers" | "useInput"
  >,
  inputAdvice?: string,
): Promise<Questions> => {
  const { member } = dataset;
  const { compat } = settings;
  const root = await resolveDataRoot({ dataDir: settings.dataDir });
  const loaded = await loadSplit(dataset, "test", {
    root,
    ratio: settings.datasetRatio,
    useInput: settings.useInput,
    compat,
  });
  const rows = loaded.rows.slice(0, settings.limit);
  const { rows: prompts, cutContexts } = await encodePrompts(rows, {
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
  const dropped = inputWarning({ ...loaded, rows }, inputAdvice);
  const cut = `${loaded.path}: ${String(cutContexts.length)} contexts are cut at the length limit (${listRows(cutContexts)})`;
  return {
    dataset,
    path: loaded.path,
    rows,
    prompts,
    warnings: [
      ...remarkLines(loaded),
      ...(dropped === undefined ? [] : [dropped]),
      ...(cutContexts.length > 0 ? [cut] : []),
    ],
    unknown: unknownTokensOfRows(prompts, loaded.path, vocabularyOf(base)),
  };
};
