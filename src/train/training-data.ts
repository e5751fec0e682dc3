import { UserError } from "../core/errors.js";
import { listRows } from "../core/row-names.js";
import { countLabels, type EncodedRow } from "../datasets/encoded-rows.js";
import { resolveDataRoot } from "../datasets/data-root.js";
import { encodeTrainingRows, trainingTargetTokens } from "../datasets/encode-rows.js";
import type { EncodedSet } from "../datasets/encoding.js";
import { isInOnePiece } from "../datasets/encode-one-piece.js";
import { inputWarning, loadSplit, remarkLines, type LoadedSplit } from "../datasets/load-split.js";
import { findSingleDataset } from "../datasets/registry.js";
import { showRows, type ShownRow } from "../datasets/show-rows.js";
import { trainingLayout } from "../datasets/build-batch.js";
import { classSetNames, isClassSetName } from "../datasets/class-sets.js";
import { isTextSetName } from "../datasets/wikitext.js";
import { tokenCacheFolder } from "../tokenizer/token-cache.js";
import { loadClassData } from "./class-data.js";
import { loadDatasetFile } from "./dataset-file.js";
import { unknownTokensOfRows, vocabularyOf } from "./known-tokens.js";
import type { BaseModel } from "./load-base.js";
import { loadTextData } from "./text-data.js";
import type { DataSettings, TrainingData } from "./loaded-data.js";

/**
 * Whether rows with classes are learnt: of a set that has them, or as --task says of a file.
 *
 * @throws {UserError} if the set has no classes, or nothing but classes, and --task asks for the other
 */
export const learnsClasses = ({
  task,
  dataset,
  datasetFile,
}: Pick<DataSettings, "task" | "dataset"> & {
  readonly datasetFile?: string | undefined;
}): boolean => {
  const isClassSet = isClassSetName(dataset);
  const other =
    task !== undefined &&
    datasetFile === undefined &&
    isClassSet !== (task === "sequence-classification");
  if (other)
    throw new UserError(
      `Cannot use --task=${task} with --dataset ${dataset}: found a set of ${isClassSet ? "texts with labels" : "texts to write"}, expected ${isClassSet ? "--task=sequence-classification" : `one of ${classSetNames.join(", ")}, or a file of rows with text and label`}`,
      "Leave --task out: the set says what is learnt",
    );
  return isClassSet || task === "sequence-classification";
};

/**
 * Loads and encodes the rows of a run.
 *
 * @throws {UserError} on missing or broken files, rows without a label, or a named set for a model without a tokenizer
 */
export const loadTrainingData = async (
  settings: DataSettings,
  base: BaseModel,
): Promise<TrainingData> => {
  if (learnsClasses(settings)) return loadClassData(settings, base);
  if (settings.datasetFile !== undefined)
    return loadDatasetFile(settings, settings.datasetFile, base);
  if (isTextSetName(settings.dataset)) return loadTextData(settings.dataset, settings, base);
  const { tokenizer } = base;
  if (!tokenizer)
    throw new UserError(
      `Cannot encode --dataset=${settings.dataset}: the model folder has no tokenizer`,
    );
  const { compat, maxNewTokens } = settings;
  const dataset = findSingleDataset(settings.dataset);
  const { member } = dataset;
  const root = await resolveDataRoot({ dataDir: settings.dataDir });
  const maxTargetTokens = trainingTargetTokens(member, maxNewTokens, compat);
  const inOnePiece = isInOnePiece(member.template, compat);
  const load = async (split: "train" | "validation") => {
    const loaded = await loadSplit(dataset, split, {
      root,
      ratio: settings.datasetRatio,
      useInput: settings.useInput,
      compat,
    });
    const encoded = await encodeTrainingRows(loaded.rows, {
      tokenizer,
      template: member.template,
      maxContextTokens: member.maxContextTokens,
      maxTargetTokens,
      compat,
      path: loaded.path,
      encoding: {
        cacheFolder: tokenCacheFolder(),
        ...(settings.numWorkers > 0 && { workers: settings.numWorkers }),
      },
    });
    return { loaded, encoded };
  };
  const [train, validation] = [await load("train"), await load("validation")];
  return {
    train: train.encoded.rows,
    validation: validation.encoded.rows,
    layout: trainingLayout(
      { maxContextTokens: member.maxContextTokens, maxTargetTokens, inOnePiece },
      compat,
    ),
    padId: tokenizer.padId,
    evaluationBatchDivisor: member.evaluationBatchDivisor,
    warnings: [
      ...[train, validation].flatMap(({ loaded, encoded }) => warningsOf(loaded, encoded)),
      ...(settings.useInput && !train.loaded.rows.some(({ input }) => input !== undefined)
        ? [`${train.loaded.path}: no row has an input, so --use_input changes nothing`]
        : []),
    ],
    choiceWarning: validation.loaded.warning,
    unknown: [train, validation].flatMap(({ loaded, encoded }) =>
      unknownTokensOfRows(encoded.rows, loaded.path, vocabularyOf(base)),
    ),
    files: Object.fromEntries(
      [train, validation].map(({ loaded }) => [loaded.path, loaded.sha256]),
    ),
    longest: member.maxContextTokens + (inOnePiece ? 0 : maxTargetTokens),
    shown: showRows(
      train.encoded.rows
        .slice(0, settings.showRows ?? 0)
        .map((row, i) => shownRow(row, i, train.loaded.path, train.encoded)),
      (ids) => tokenizer.decode(ids),
    ),
  };
};

/** A row of a named set, with how many tokens its limits have cut off. */
const shownRow = (
  encoded: EncodedRow,
  i: number,
  path: string,
  { wholeLengths, cutContexts, cutTargets }: EncodedSet,
): ShownRow => {
  const { context = 0, target = 0 } = wholeLengths[i] ?? {};
  const kept = encoded.contextLength;
  const lost = [
    ...(cutContexts.includes(i) ? [`${String(context - kept)} tokens of the context`] : []),
    ...(cutTargets.includes(i)
      ? [`${String(target - (encoded.ids.length - kept))} tokens at the target's end`]
      : []),
  ];
  return { encoded, path, cut: lost.length > 0 ? lost.join(", ") : undefined };
};

const warningsOf = (
  loaded: LoadedSplit,
  { cutContexts, cutTargets }: EncodedSet,
): readonly string[] => {
  const { path } = loaded;
  const dropped = inputWarning(loaded);
  const cut = (what: string, rows: readonly number[]) =>
    rows.length === 0
      ? []
      : [`${path}: ${String(rows.length)} ${what} cut at the length limit (${listRows(rows)})`];
  return [
    ...remarkLines(loaded),
    ...(dropped === undefined ? [] : [dropped]),
    ...cut("contexts are", cutContexts),
    ...cut("targets are", cutTargets),
  ];
};

/** The most labelled tokens that a batch of so many rows can have. */
export const mostLabels = (rows: readonly EncodedRow[], batch: number): number =>
  batch * rows.reduce((most, row) => Math.max(most, countLabels(row)), 0);
