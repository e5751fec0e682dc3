import { keepRatio } from "../datasets/load-split.js";
import { readPreTokenized } from "../datasets/pre-tokenized.js";
import { vocabularyOf } from "./known-tokens.js";
import type { BaseModel } from "./load-base.js";
import type { DataSettings, TrainingData } from "./training-data.js";

/** The rows of a --dataset that is a file, and of its --validation. @throws {UserError} if a file is missing or broken */
export const loadDatasetFile = async (
  settings: DataSettings,
  path: string,
  base: BaseModel,
): Promise<TrainingData> => {
  const read = async (file: string) => {
    const set = await readPreTokenized(file, vocabularyOf(base));
    return { ...set, rows: keepRatio(set.rows, settings.datasetRatio, file) };
  };
  const train = await read(path);
  const validation =
    settings.validation === undefined ? undefined : await read(settings.validation);
  const sets = validation ? [train, validation] : [train];
  return {
    train: train.rows,
    validation: validation?.rows,
    layout: { kind: "right-padded" },
    padId: base.folder.tokenIds.padId ?? 0,
    evaluationBatchDivisor: 4,
    warnings: [],
    choiceWarning: undefined,
    unknown: [],
    files: Object.fromEntries(sets.map((set) => [set.path, set.sha256])),
    longest: sets
      .flatMap(({ rows }) => rows)
      .reduce((most, { ids }) => Math.max(most, ids.length), 0),
  };
};
