import type { Compat } from "../core/compat.js";
import { UserError } from "../core/errors.js";
import { listRows } from "../core/row-names.js";
import type { UnknownTokens } from "../core/unknown-tokens.js";
import { countLabels, type EncodedRow } from "../datasets/encoded-rows.js";
import { resolveDataRoot } from "../datasets/data-root.js";
import {
  encodeTrainingRows,
  trainingTargetTokens,
  type EncodedSet,
} from "../datasets/encode-rows.js";
import { isInOnePiece } from "../datasets/encode-one-piece.js";
import { inputWarning, loadSplit, remarkLines, type LoadedSplit } from "../datasets/load-split.js";
import { findSingleDataset } from "../datasets/registry.js";
import { showRows, type ShownRow } from "../datasets/show-rows.js";
import { trainingLayout, type BatchLayout } from "../datasets/build-batch.js";
import { classSetNames, isClassSetName } from "../datasets/class-sets.js";
import { isTextSetName } from "../datasets/wikitext.js";
import { tokenCacheFolder } from "../tokenizer/token-cache.js";
import { loadClassData } from "./class-data.js";
import { loadDatasetFile } from "./dataset-file.js";
import { unknownTokensOfRows, vocabularyOf } from "./known-tokens.js";
import type { BaseModel } from "./load-base.js";
import type { TaskName } from "./tasks/task.js";
import { loadTextData } from "./text-data.js";

export interface DataSettings {
  /** What is learnt of the rows. Default: tokens, or classes where the set has them. */
  readonly task?: TaskName | undefined;
  /** A name of the data set table, or a file of rows. */
  readonly dataset: string;
  readonly datasetFile: string | undefined;
  /** A file, or the share of the rows to hold out. */
  readonly validation: string | undefined;
  readonly dataDir: string | undefined;
  readonly datasetRatio: number;
  /** Whether a row's input stands in its prompt. */
  readonly useInput: boolean;
  readonly numWorkers: number;
  readonly maxNewTokens: number | undefined;
  /** Tokens in a block of running text; undefined: 512, or the model's positions. */
  readonly blockSize?: number | undefined;
  /** Where prompt and target stand in the rows of a file. */
  readonly promptField?: string | undefined;
  readonly targetField?: string | undefined;
  /** Of a file's rows: a name or a file; see openOwnTemplate. */
  readonly template?: string | undefined;
  /** Tokens of a row of a file, at most. */
  readonly maxLength?: number | undefined;
  /** How many training rows to show; see showRows. */
  readonly showRows?: number | undefined;
  readonly compat: Compat;
}

/** Rows ready for batches, and where they came from. */
export interface TrainingData {
  readonly train: readonly EncodedRow[];
  readonly validation: readonly EncodedRow[] | undefined;
  /** The names of the classes of the rows; undefined where tokens are learnt. */
  readonly labels?: readonly string[];
  readonly layout: BatchLayout;
  readonly padId: number;
  /** Evaluation takes max(1, floor(--batch / this)) rows at a time. */
  readonly evaluationBatchDivisor: number;
  /** What the rows of a file were taken for. */
  readonly remarks?: readonly string[];
  /** Lines of --show_rows. */
  readonly shown?: readonly string[];
  /** Whether a file's rows were encoded by the model's tokenizer. */
  readonly usesTokenizer?: boolean;
  /** What the person has to know: rows that are cut, and what is dropped of them. */
  readonly warnings: readonly string[];
  /** Likewise, where validation chooses among checkpoints: that its rows are the test's. */
  readonly choiceWarning: string | undefined;
  /** Tokens that the model has no embedding for; see requireKnownTokensOf. */
  readonly unknown: readonly UnknownTokens[];
  /** SHA-256 of every file read, by path. */
  readonly files: Readonly<Record<string, string>>;
  /** Columns of the longest batch that can come up. */
  readonly longest: number;
}

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
