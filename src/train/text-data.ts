import { UserError } from "../core/errors.js";
import { resolveDataRoot } from "../datasets/data-root.js";
import { keepRatio } from "../datasets/load-split.js";
import { encodeLongText, packBlocks } from "../datasets/pack-text.js";
import { showRows } from "../datasets/show-rows.js";
import { readTextSplit, type TextSetName } from "../datasets/wikitext.js";
import { tokenCacheFolder } from "../tokenizer/token-cache.js";
import { unknownTokensOfRows, vocabularyOf } from "./known-tokens.js";
import type { BaseModel } from "./load-base.js";
import type { DataSettings, TrainingData } from "./training-data.js";

/** Tokens in a block, where nothing says how many; less in a model of fewer positions. */
const defaultBlockSize = 512;

/**
 * A set of running text for language modelling: BOS, the text and EOS as one line of tokens, cut into blocks that are full. Every token is
 * learnt but the first of each block.
 *
 * `ratio` below 1 keeps the first blocks.
 * @throws {UserError} on missing or broken files, a model without a tokenizer or with fewer positions than a block has, and a text of
 *   less than two tokens
 */
export const loadTextData = async (
  name: TextSetName,
  settings: Pick<
    DataSettings,
    "dataDir" | "datasetRatio" | "numWorkers" | "blockSize" | "showRows"
  >,
  base: BaseModel,
): Promise<TrainingData> => {
  const { tokenizer } = base;
  if (!tokenizer)
    throw new UserError(`Cannot encode --dataset=${name}: the model folder has no tokenizer`);
  const { maxPositionEmbeddings } = base.folder.model;
  const blockSize = settings.blockSize ?? Math.min(defaultBlockSize, maxPositionEmbeddings);
  if (blockSize > maxPositionEmbeddings)
    throw new UserError(
      `Cannot use --block_size ${String(blockSize)}: found a model of ${String(maxPositionEmbeddings)} positions, expected no more than that`,
      "Its max_position_embeddings is in config.json",
    );
  const root = await resolveDataRoot({ dataDir: settings.dataDir });
  const load = async (split: "train" | "validation") => {
    const { text, path, sha256 } = await readTextSplit(name, split, root);
    const ids = await encodeLongText(tokenizer, text, {
      cacheFolder: tokenCacheFolder(),
      ...(settings.numWorkers > 0 && { workers: settings.numWorkers }),
    });
    const ends = (id: number | undefined): readonly number[] => (id === undefined ? [] : [id]);
    const [front, end] = [ends(tokenizer.bosId), ends(tokenizer.eosId)];
    const whole = new Int32Array(front.length + ids.length + end.length);
    whole.set(front);
    whole.set(ids, front.length);
    whole.set(end, front.length + ids.length);
    const rows = keepRatio(packBlocks(whole, blockSize), settings.datasetRatio, path);
    return { rows, path, sha256 };
  };
  const [train, validation] = [await load("train"), await load("validation")];
  const sets = [train, validation];
  return {
    train: train.rows,
    validation: validation.rows,
    layout: { kind: "right-padded" },
    padId: tokenizer.padId,
    evaluationBatchDivisor: 4,
    warnings: [],
    choiceWarning: undefined,
    unknown: sets.flatMap(({ rows, path }) => unknownTokensOfRows(rows, path, vocabularyOf(base))),
    files: Object.fromEntries(sets.map(({ path, sha256 }) => [path, sha256])),
    longest: blockSize,
    shown: showRows(
      train.rows.slice(0, settings.showRows ?? 0).map((encoded) => ({ encoded, path: train.path })),
      (ids) => tokenizer.decode(ids),
    ),
  };
};
