import { existsSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../core/errors.js";
import { readJsonObject } from "../core/json-file.js";
import type { UnknownTokens } from "../core/unknown-tokens.js";
import { trainingLayout } from "../datasets/build-batch.js";
import { checkRows, type CheckedSplit } from "../datasets/check-rows.js";
import { cuttingOf } from "../datasets/cutting.js";
import { resolveDataRoot } from "../datasets/data-root.js";
import { encodeTrainingRows, trainingTargetTokens } from "../datasets/encode-rows.js";
import { isInOnePiece } from "../datasets/encode-one-piece.js";
import { inputWarning, loadSplit, remarkLines } from "../datasets/load-split.js";
import { findDataset, findSingleDataset, type Dataset } from "../datasets/registry.js";
import { questionOf, splits, type Split } from "../datasets/rows.js";
import { isTextSetName, type TextSetName } from "../datasets/wikitext.js";
import type { HubUi } from "../models/hub/fetch-snapshot.js";
import { findOnHub } from "../models/hub/find-on-hub.js";
import { loadTokenizer } from "../tokenizer/load-tokenizer.js";
import { tokenCacheFolder } from "../tokenizer/token-cache.js";
import { unknownTokensOfRows } from "../train/known-tokens.js";
import { refuseTextFlags } from "../train/own-texts.js";
import { blockSizeOf, readTextBlocks } from "../train/text-data.js";
import { learnsClasses } from "../train/training-data.js";
import { checkClasses } from "./check-classes.js";
import { checkFile } from "./check-file.js";
import {
  withFaults,
  type CheckCoder,
  type CheckDataOptions,
  type CheckedData,
  type MissingSplit,
} from "./checked-data.js";

/** The tokenizer of a model, and what its config says of tokens and positions, as far as there is one. */
const openCoder = async (
  name: string | undefined,
  needsTokenizer: boolean,
  ui: HubUi,
): Promise<CheckCoder> => {
  const folder =
    name === undefined ? undefined : await findOnHub(name, { purpose: "tokenizer", ui });
  const tokenizer =
    folder !== undefined && needsTokenizer
      ? await loadTokenizer(folder, name === undefined ? {} : { modelName: name })
      : undefined;
  const path = folder === undefined ? undefined : join(folder, "config.json");
  const config = path !== undefined && existsSync(path) ? await readJsonObject(path) : {};
  const [size, positions] = [config["vocab_size"], config["max_position_embeddings"]];
  return {
    tokenizer,
    vocabulary: {
      vocabularySize: typeof size === "number" ? size : Number.MAX_SAFE_INTEGER,
      textOf: (id) => tokenizer?.decode([id]),
    },
    positions: typeof positions === "number" ? positions : undefined,
  };
};

const isMissing = (error: unknown): error is UserError =>
  error instanceof UserError && /^Cannot find the \w+ (?:rows|text)/.test(error.message);

const checkSet = async (
  dataset: Dataset,
  { tokenizer, vocabulary }: CheckCoder,
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
    cutting: cuttingOf(member.template, compat),
  });
  return withFaults(dataset.name, checked, { missing, unknownTokens, warnings: [...warnings] });
};

/** The blocks of a set of running text: no contexts, and nothing is cut. */
const checkTextSet = async (
  name: TextSetName,
  { tokenizer, vocabulary, positions }: CheckCoder,
  options: CheckDataOptions,
): Promise<CheckedData> => {
  if (!tokenizer)
    throw new UserError(
      `Cannot check ${name} without --model: found no tokenizer, expected one, since the text is cut into blocks of tokens`,
    );
  const root = await resolveDataRoot({ dataDir: options.dataDir });
  const blockSize = blockSizeOf(options.blockSize, positions ?? Number.MAX_SAFE_INTEGER);
  const missing: MissingSplit[] = [];
  const unknownTokens: UnknownTokens[] = [];
  const found: Partial<Record<Split, CheckedSplit>> = {};
  for (const split of splits) {
    const ratio = split === "test" ? { ...options, datasetRatio: 1 } : options;
    const read = await readTextBlocks(name, split, ratio, { root, tokenizer, blockSize }).catch(
      (error: unknown) => {
        if (!isMissing(error)) throw error;
        missing.push({ split, why: error.message });
      },
    );
    if (!read) continue;
    const { rows, path } = read;
    unknownTokens.push(...unknownTokensOfRows(rows, path, vocabulary));
    found[split] = {
      path,
      keys: rows.map(({ ids }) => ({ context: "", target: ids.join(" ") })),
      encoded: {
        ...{ rows, cutContexts: [], cutTargets: [], unlabelled: [] },
        wholeLengths: rows.map(({ ids }) => ({ context: 0, target: ids.length })),
      },
    };
  }
  if (missing.length === splits.length) throw new UserError(missing[0]?.why ?? "");
  const layout = { kind: "right-padded" } as const;
  const checked = checkRows(found, { batch: options.batch, layout, isText: true });
  const remarks = [`${name}: running text in blocks of ${String(blockSize)} tokens`];
  return withFaults(name, checked, { remarks, missing, unknownTokens });
};

/**
 * Looks at the rows of a set, of each of a group's sets, or of a file, as a run of these options would get them; see checkRows for what is wrong with them.
 *
 * @throws {UserError} on broken files, and where there are no rows at all
 */
export const checkData = async (
  options: CheckDataOptions,
  ui: HubUi,
): Promise<readonly CheckedData[]> => {
  const { dataset, datasetFile, modelName } = options;
  const open = (needsTokenizer: boolean): Promise<CheckCoder> =>
    openCoder(modelName, needsTokenizer, ui);
  if (learnsClasses(options)) return [await checkClasses(await open(true), options)];
  if (datasetFile !== undefined) return [await checkFile(datasetFile, open, options)];
  refuseTextFlags(options, `the set ${dataset}, which has its own form`);
  if (options.validation !== undefined)
    throw new UserError(
      `Cannot use --validation: found the set ${dataset}, which has its own splits`,
      "Leave the flag out, or give rows of your own",
    );
  if (isTextSetName(dataset)) return [await checkTextSet(dataset, await open(true), options)];
  const found = findDataset(dataset);
  const sets = found.kind === "group" ? found.members.map(findSingleDataset) : [found];
  const coder = await open(true);
  const out: CheckedData[] = [];
  for (const set of sets) out.push(await checkSet(set, coder, options));
  return out;
};
