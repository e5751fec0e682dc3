import { existsSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../core/errors.js";
import { readJsonObject } from "../core/json-file.js";
import type { UnknownTokens, Vocabulary } from "../core/unknown-tokens.js";
import { trainingLayout } from "../datasets/build-batch.js";
import {
  checkRows,
  type CheckedSplit,
  type CheckOptions,
  type DataCheck,
} from "../datasets/check-rows.js";
import { resolveDataRoot } from "../datasets/data-root.js";
import { encodeTrainingRows, trainingTargetTokens } from "../datasets/encode-rows.js";
import { countLabels } from "../datasets/encoded-rows.js";
import { isInOnePiece } from "../datasets/encode-one-piece.js";
import { inputWarning, keepRatio, loadSplit, remarkLines } from "../datasets/load-split.js";
import { readPreTokenized } from "../datasets/pre-tokenized.js";
import { findDataset, findSingleDataset, type Dataset } from "../datasets/registry.js";
import { questionOf, splits, type Split } from "../datasets/rows.js";
import { loadTokenizer } from "../tokenizer/load-tokenizer.js";
import { tokenCacheFolder } from "../tokenizer/token-cache.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";
import { unknownTokensOfRows } from "../train/known-tokens.js";
import type { DataSettings } from "../train/training-data.js";

/** What is checked, as a run would be given it. */
export interface CheckDataOptions extends DataSettings {
  readonly batch: number;
  /** Its tokenizer makes tokens of texts; without one, texts alone are compared. */
  readonly modelFolder: string | undefined;
}

/** A split that a run would look for in vain. */
export interface MissingSplit {
  readonly split: Split;
  /** What loading it says. */
  readonly why: string;
}

/** One data set as checked. */
export interface CheckedData extends DataCheck {
  /** The name of --dataset, or the file. */
  readonly name: string;
  readonly missing: readonly MissingSplit[];
  /** Rows with tokens that the model has no embedding for: a run stops there. */
  readonly unknownTokens: readonly UnknownTokens[];
  /** What a run would warn of. */
  readonly warnings: readonly string[];
}

interface Coder {
  readonly tokenizer: Tokenizer | undefined;
  readonly vocabulary: Vocabulary;
}

/** The tokenizer of a model's folder, and how many tokens the model has an embedding for, where its config says so. */
const openCoder = async (folder: string | undefined, needsTokenizer: boolean): Promise<Coder> => {
  const tokenizer =
    folder !== undefined && needsTokenizer ? await loadTokenizer(folder) : undefined;
  const path = folder === undefined ? undefined : join(folder, "config.json");
  const config = path !== undefined && existsSync(path) ? await readJsonObject(path) : {};
  const size = config["vocab_size"];
  return {
    tokenizer,
    vocabulary: {
      vocabularySize: typeof size === "number" ? size : Number.MAX_SAFE_INTEGER,
      textOf: (id) => tokenizer?.decode([id]),
    },
  };
};

const isMissing = (error: unknown): error is UserError =>
  error instanceof UserError && /^Cannot find the \w+ rows/.test(error.message);

const checkSet = async (
  dataset: Dataset,
  { tokenizer, vocabulary }: Coder,
  options: CheckDataOptions,
): Promise<CheckedData> => {
  const { member } = dataset;
  const { compat, maxNewTokens, datasetRatio, useInput, numWorkers, batch } = options;
  const root = await resolveDataRoot({ dataDir: options.dataDir });
  const maxTargetTokens = trainingTargetTokens(member, maxNewTokens, compat);
  const { maxContextTokens } = member;
  const [warnings, missing, unknownTokens] = [
    new Set<string>(),
    [] as MissingSplit[],
    [] as UnknownTokens[],
  ];
  const found: Partial<Record<Split, CheckedSplit>> = {};
  for (const split of splits) {
    let loaded: Awaited<ReturnType<typeof loadSplit>>;
    try {
      loaded = await loadSplit(dataset, split, { root, ratio: datasetRatio, useInput, compat });
    } catch (error) {
      if (!isMissing(error)) throw error;
      missing.push({ split, why: error.message });
      continue;
    }
    const { path, rows } = loaded;
    const dropped = inputWarning(loaded);
    for (const remark of remarkLines(loaded)) warnings.add(remark);
    if (dropped !== undefined) warnings.add(dropped);
    const encoded =
      tokenizer &&
      (await encodeTrainingRows(rows, {
        tokenizer,
        template: member.template,
        maxContextTokens,
        maxTargetTokens,
        allowsUnlabelled: true,
        compat,
        path,
        encoding: {
          cacheFolder: tokenCacheFolder(),
          ...(numWorkers > 0 && { workers: numWorkers }),
        },
      }));
    if (encoded) unknownTokens.push(...unknownTokensOfRows(encoded.rows, path, vocabulary));
    found[split] = {
      path,
      keys: rows.map((row) => ({ context: questionOf(row), target: row.target })),
      encoded,
    };
  }
  if (missing.length === splits.length) throw new UserError(missing[0]?.why ?? "");
  const checked = checkRows(found, {
    batch,
    ...(tokenizer && { limits: { context: maxContextTokens, target: maxTargetTokens } }),
    layout: trainingLayout(
      {
        maxContextTokens,
        maxTargetTokens,
        inOnePiece: isInOnePiece(member.template, compat),
      },
      compat,
    ),
    asOriginal: compat.has("tokens"),
  });
  return withFaults(dataset.name, checked, { missing, unknownTokens, warnings: [...warnings] });
};

const withFaults = (
  name: string,
  checked: DataCheck,
  others: Pick<CheckedData, "missing" | "unknownTokens" | "warnings">,
): CheckedData => ({
  ...checked,
  name,
  ...others,
  isWrong: checked.isWrong || others.missing.length > 0 || others.unknownTokens.length > 0,
});

/** Rows of token ids, which nothing cuts. */
const checkTokenRows = async (
  path: string,
  { vocabulary }: Coder,
  { validation, datasetRatio, batch }: CheckDataOptions,
): Promise<CheckedData> => {
  const read = async (file: string): Promise<CheckedSplit> => {
    const rows = keepRatio((await readPreTokenized(file, vocabulary)).rows, datasetRatio, file);
    const ids = (values: Int32Array): string => values.join(" ");
    return {
      path: file,
      keys: rows.map((row) => ({
        context: ids(row.ids.subarray(0, row.contextLength)),
        target: `${ids(row.ids.subarray(row.contextLength))}|${row.labels?.join(" ") ?? ""}`,
      })),
      encoded: {
        rows,
        cutContexts: [],
        cutTargets: [],
        unlabelled: rows.flatMap((row, i) => (countLabels(row) === 0 ? [i] : [])),
        wholeLengths: rows.map(({ ids: all, contextLength }) => ({
          context: contextLength,
          target: all.length - contextLength,
        })),
      },
    };
  };
  const layout: CheckOptions["layout"] = { kind: "right-padded" };
  const train = await read(path);
  const checked = checkRows(
    { train, ...(validation !== undefined && { validation: await read(validation) }) },
    // Rows without a single token before the first label, as in language modelling, have no context.
    {
      batch,
      layout,
      isText: train.encoded?.rows.every(({ contextLength }) => contextLength <= 1) ?? false,
    },
  );
  return withFaults(path, checked, { missing: [], unknownTokens: [], warnings: [] });
};

/**
 * Looks at the rows of a set, of each of a group's sets, or of a file, as a run of these options would get them; see checkRows for what is wrong with them.
 *
 * @throws {UserError} on broken files, and where there are no rows at all
 */
export const checkData = async (options: CheckDataOptions): Promise<readonly CheckedData[]> => {
  const { dataset, datasetFile, modelFolder } = options;
  if (datasetFile !== undefined)
    return [await checkTokenRows(datasetFile, await openCoder(modelFolder, false), options)];
  const found = findDataset(dataset);
  const sets = found.kind === "group" ? found.members.map(findSingleDataset) : [found];
  const coder = await openCoder(modelFolder, true);
  const out: CheckedData[] = [];
  for (const set of sets) out.push(await checkSet(set, coder, options));
  return out;
};
