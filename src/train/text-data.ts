import { UserError } from "../core/errors.js";
import { resolveDataRoot } from "../datasets/data-root.js";
import { keepRatio } from "../datasets/load-split.js";
import type { EncodedRow } from "../datasets/encoded-rows.js";
import { encodeLongText, packBlocks } from "../datasets/pack-text.js";
import type { Split } from "../datasets/rows.js";
import { showRows } from "../datasets/show-rows.js";
import { readTextSplit, type TextSetName } from "../datasets/wikitext.js";
import { tokenCacheFolder } from "../tokenizer/token-cache.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";
import { unknownTokensOfRows, vocabularyOf } from "./known-tokens.js";
import type { BaseModel } from "./load-base.js";
import type { DataSettings, TrainingData } from "./loaded-data.js";

/** Tokens in a block, where nothing says how many; less in a model of fewer positions. */
const defaultBlockSize = 512;

/** How a set of running text is cut. */
interface BlockCoder {
  readonly root: string;
  readonly tokenizer: Tokenizer;
  readonly blockSize: number;
}

/**
 * Tokens in a block: --block_size, else 512, or the model's positions where those are fewer.
 *
 * @throws {UserError} if it is more than the model has positions
 */
export const blockSizeOf = (asked: number | undefined, positions: number): number => {
  const blockSize = asked ?? Math.min(defaultBlockSize, positions);
  if (blockSize > positions)
    throw new UserError(
      `Cannot use --block_size ${String(blockSize)}: found a model of ${String(positions)} positions, expected no more than that`,
      "Its max_position_embeddings is in config.json",
    );
  return blockSize;
};

/** A split of a set of running text as blocks of tokens. @throws {UserError} on missing or broken files, and a text of less than two tokens */
export const readTextBlocks = async (
  name: TextSetName,
  split: Split,
  { datasetRatio, numWorkers }: Pick<DataSettings, "datasetRatio" | "numWorkers">,
  { root, tokenizer, blockSize }: BlockCoder,
): Promise<{
  readonly rows: readonly EncodedRow[];
  readonly path: string;
  readonly sha256: string;
}> => {
  const { text, path, sha256 } = await readTextSplit(name, split, root);
  const ids = await encodeLongText(tokenizer, text, {
    cacheFolder: tokenCacheFolder(),
    ...(numWorkers > 0 && { workers: numWorkers }),
  });
  const ends = (id: number | undefined): readonly number[] => (id === undefined ? [] : [id]);
  const [front, end] = [ends(tokenizer.bosId), ends(tokenizer.eosId)];
  const whole = new Int32Array(front.length + ids.length + end.length);
  whole.set(front);
  whole.set(ids, front.length);
  whole.set(end, front.length + ids.length);
  return { rows: keepRatio(packBlocks(whole, blockSize), datasetRatio, path), path, sha256 };
};

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
  const blockSize = blockSizeOf(settings.blockSize, base.folder.model.maxPositionEmbeddings);
  const root = await resolveDataRoot({ dataDir: settings.dataDir });
  const load = (split: "train" | "validation") =>
    readTextBlocks(name, split, settings, { root, tokenizer, blockSize });
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
