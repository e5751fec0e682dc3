import { analyseDataset, formatAnalysis, type AnalysedSplit } from "../datasets/analysis.js";
import { cuttingOf } from "../datasets/cutting.js";
import { resolveDataRoot } from "../datasets/data-root.js";
import { encodeTrainingRows, trainingTargetTokens } from "../datasets/encode-rows.js";
import { inputWarning, loadSplit } from "../datasets/load-split.js";
import { findDataset, findSingleDataset, hasAnswers, type Dataset } from "../datasets/registry.js";
import { splits, type Split } from "../datasets/rows.js";
import { checkData } from "../runs/check-data.js";
import { runEvaluation } from "../runs/run-evaluation.js";
import { runTraining } from "../runs/run-training.js";
import type { ProgressUi } from "../report/progress.js";
import { findOnHub } from "../models/hub/find-on-hub.js";
import { requireModelName } from "../train/model-name.js";
import { loadTokenizer } from "../tokenizer/load-tokenizer.js";
import { tokenCacheFolder } from "../tokenizer/token-cache.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";
import { scoringLines } from "./scoring-table.js";
import type { TrainWork } from "./commands/train.js";
import { formatDataCheck } from "./data-check-table.js";
import { defaultOf } from "../core/flag.js";
import { trainFlags } from "./train-flags.js";
import { originalFlags, type TrainOptions } from "./train-options.js";

/** The three splits of a set, loaded and encoded as for training. */
const analyseSplits = async (
  dataset: Dataset,
  tokenizer: Tokenizer,
  options: TrainOptions,
  ui: ProgressUi,
): Promise<string> => {
  const { member } = dataset;
  const { compat } = options;
  const root = await resolveDataRoot({ dataDir: options.dataDir });
  const maxTargetTokens = trainingTargetTokens(member, options.maxNewTokens, compat);
  const warnings = new Set<string>();
  const analyse = async (split: Split): Promise<AnalysedSplit> => {
    const loaded = await loadSplit(dataset, split, {
      root,
      ratio: options.datasetRatio,
      useInput: options.useInput,
      compat,
    });
    const { path, rows } = loaded;
    const dropped = inputWarning(loaded);
    if (dropped !== undefined) warnings.add(dropped);
    const encoded = await encodeTrainingRows(rows, {
      tokenizer,
      template: member.template,
      maxContextTokens: member.maxContextTokens,
      maxTargetTokens,
      allowsUnlabelled: true,
      compat,
      path,
      encoding: {
        cacheFolder: tokenCacheFolder(),
        ...(options.numWorkers > 0 && { workers: options.numWorkers }),
      },
    });
    return { path, rows, encoded };
  };
  const found = new Map<Split, AnalysedSplit>();
  for (const split of splits) found.set(split, await analyse(split));
  for (const warning of warnings) ui.warn(warning);
  const bySplit = Object.fromEntries(found) as Readonly<Record<Split, AnalysedSplit>>;
  const limits = { context: member.maxContextTokens, target: maxTargetTokens };
  const analysis = analyseDataset(bySplit, {
    batch: options.batch,
    limits,
    cutting: cuttingOf(member.template, compat),
  });
  return formatAnalysis(dataset.name, analysis);
};

const defaults = Object.fromEntries(
  Object.entries(trainFlags).map(([name, flag]) => [name, defaultOf(flag)]),
);

/** What `hira train` does, by the library. */
export const trainWork: TrainWork = {
  async train(options, ui, interrupt, group) {
    const record = {
      argv: process.argv.slice(2),
      flags: options.flags,
      defaults,
      originalFlags: originalFlags(options),
    };
    await runTraining(options, record, ui, interrupt, group);
  },
  async evaluate(options, ui, interrupt, { columns, group }) {
    const flagsOf = (replaced: Parameters<typeof originalFlags>[1]) =>
      originalFlags(options, replaced);
    const compared = await runEvaluation(options, flagsOf, ui, interrupt, group);
    for (const line of scoringLines(compared, columns)) ui.line(line);
  },
  async analyseDataset(options, ui, columns) {
    if (!hasAnswers(options.dataset)) {
      const modelName = options.modelFolder ?? requireModelName(options.modelName);
      for (const data of await checkData({ ...options, modelName }, ui))
        for (const line of formatDataCheck(data, columns)) ui.line(line);
      return;
    }
    const found = findDataset(options.dataset);
    const sets = found.kind === "group" ? found.members.map(findSingleDataset) : [found];
    const name = options.modelFolder ?? requireModelName(options.modelName);
    const tokenizer = await loadTokenizer(await findOnHub(name, { purpose: "tokenizer", ui }), {
      modelName: name,
    });
    for (const [i, dataset] of sets.entries())
      ui.line(`${i === 0 ? "" : "\n"}${await analyseSplits(dataset, tokenizer, options, ui)}`);
  },
};
