import type { Compat } from "../core/compat.js";
import { isDatasetFile } from "../datasets/registry.js";
import type { DeepSpeedConfig } from "../distributed/ds-config.js";
import type { ChoiceForm } from "../runs/choices.js";
import type { Scoring } from "../runs/scorings.js";
import { parseShardSize } from "../models/shards.js";
import { bestMetrics, type BestMetric } from "../train/class-figures.js";
import type { Optimizer } from "../train/optimizer.js";
import type { TrainingSettings } from "../train/training-settings.js";
import { readCompat } from "./compat-option.js";
import type { FlagFault } from "../core/flag.js";
import { readDeviceOptions, type DeviceOptions } from "./device-options.js";
import { readModelOptions, type ModelOptions } from "./model-options.js";
import { originalFlagNames, type OriginalFlags } from "./options.js";
import type { Source } from "./reads.js";
import { readRowOptions, type RowOptions } from "./row-options.js";
import { effectiveLoadBit } from "./storage-options.js";
import { crossFaults, type TrainFlagValues } from "./train-flags.js";

/** Which rows a run learns from, and how they are read, cut and encoded. */
export interface DataOptions extends RowOptions {
  readonly showRows: number;
  readonly datasetAnalysis: boolean;
  readonly shuffle: boolean;
  /** Rows answered of each set; undefined for all. */
  readonly limit: number | undefined;
}

/** All that `hira train` was asked for, checked. */
export interface TrainOptions extends ModelOptions, DataOptions, DeviceOptions, TrainingSettings {
  /** Where the model of this name is, as the --config file of a run says. */
  readonly modelFolder?: string | undefined;
  readonly adapter: string | undefined;
  readonly ckpt: string | undefined;
  readonly loadOrder: number;
  readonly computeRank: boolean;
  readonly computeNorm: boolean;
  readonly maxNewTokens: number | undefined;
  readonly beamSize: number | undefined;
  readonly doSample: boolean;
  readonly decoding: "default" | "greedy";
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly outputFolder: string;
  /** The flags that have to have an effect. */
  readonly typed: ReadonlySet<string>;
  /** Whether it stands on the command line. */
  readonly outputFolderIsAsked: boolean;
  readonly scoring: Scoring;
  readonly choices: ChoiceForm;
  /** --ckpt: the file of the answers. */
  readonly outputFile: string | undefined;
  readonly resumeFromCheckpoint: string | undefined;
  /** In bytes. */
  readonly maxShardBytes: number;
  readonly expName: string;
  readonly dsConfig: string | undefined;
  /** What `dsConfig` says, read and checked by the command. */
  readonly deepSpeed?: DeepSpeedConfig;
  /** A trial of hira launch --autotuning: nothing is saved or answered. */
  readonly measuresOnly?: boolean;
  readonly localRank: number;
  readonly logSteps: number;
  readonly logFormat: "plain" | "hf";
  readonly compat: Compat;
  /** The flags as they were parsed, under their own names. */
  readonly flags: TrainFlagValues;
}

/**
 * The 37 flags with their effective values, in the original's order: line 1 of output.jsonl.
 *
 * `replaced` are those that an evaluated run brings with it (peft_type, model_name, r_ab, rand_R, target_modules).
 * Source: train_hira.py, vars(args).
 */
export const originalFlags = (
  { flags: given }: Pick<TrainOptions, "flags">,
  replaced: Partial<OriginalFlags> = {},
): OriginalFlags => ({
  ...(Object.fromEntries(originalFlagNames.map((name) => [name, given[name]])) as OriginalFlags),
  ...replaced,
});

/** yes or true in any case is on; a word that is neither on nor off is a fault, where the original takes it for off. */
export const readDoSample = (text: string, faults: FlagFault[]): boolean => {
  const word = text.toLowerCase();
  if (!["yes", "true", "no", "false"].includes(word))
    faults.push({
      what: "--do_sample",
      found: JSON.stringify(text),
      expected: "yes, true, no or false",
    });
  return word === "yes" || word === "true";
};

const readShardSize = (text: string, faults: FlagFault[]): number => {
  const bytes = parseShardSize(text);
  if (bytes === undefined)
    faults.push({
      what: "--max_shard_size",
      found: JSON.stringify(text),
      expected: "a number with KB, MB, GB or TB behind it",
    });
  return bytes ?? 0;
};

/** loss, accuracy, f1, f1_macro or mcc, also by transformers' names: eval_accuracy, eval_matthews_correlation. */
const readMetric = (text: string, faults: FlagFault[]): BestMetric => {
  const name = text.replace(/^eval_/, "").replace(/^matthews_correlation$/, "mcc");
  const found = bestMetrics.find((known) => known === name);
  if (!found)
    faults.push({
      what: "--metric_for_best",
      found: JSON.stringify(text),
      expected: `one of ${bestMetrics.join(", ")}`,
    });
  return found ?? "loss";
};

/** The options of `hira train` from its flags. What is wrong is added to `faults`; the options then serve no purpose. */
export const readTrainOptions = (
  values: TrainFlagValues,
  {
    given,
    typed = new Map(),
  }: { readonly given: ReadonlySet<string>; readonly typed?: ReadonlyMap<string, Source> },
  faults: FlagFault[],
): TrainOptions => {
  const compat = readCompat(values.compat, faults);
  faults.push(...crossFaults(values, isDatasetFile(values.dataset)));
  return {
    ...readModelOptions(values, given, { compat, faults }),
    compat,
    ...readRowOptions(values, values.dataset),
    metricForBest: readMetric(values.metric_for_best, faults),
    showRows: values.show_rows,
    datasetAnalysis: values.dataset_analysis,
    shuffle: values.shuffle,
    limit: values.limit ?? undefined,
    ...readDeviceOptions(values),
    batch: values.batch,
    gradAcc: values.grad_acc,
    epoch: values.epoch,
    maxSteps: values.max_steps ?? undefined,
    lr: values.lr,
    warmup: values.warmup,
    weightDecay: values.weight_decay,
    optimizer: values.optim as Optimizer,
    modelDropout: values.model_dropout ?? undefined,
    maxGradNorm: values.max_grad_norm,
    seed: values.seed ?? undefined,
    enableGradCkpt: values.enable_grad_ckpt,
    evalStrategy: values.eval_strategy as TrainOptions["evalStrategy"],
    evalSteps: values.eval_steps,
    saveTotalLimit: values.save_total_limit,
    earlyStopPatience: values.early_stop_patience,
    adapter: values.adapter ?? undefined,
    ckpt: values.ckpt ?? undefined,
    loadOrder: values.load_order,
    scoring: values.scoring as TrainOptions["scoring"],
    choices: values.choices as TrainOptions["choices"],
    computeRank: values.compute_rank,
    computeNorm: values.compute_norm,
    maxNewTokens: values.max_new_tokens ?? undefined,
    beamSize: values.beam_size ?? undefined,
    doSample: readDoSample(values.do_sample, faults),
    decoding: values.decoding as TrainOptions["decoding"],
    temperature: values.temperature,
    topK: values.top_k,
    topP: values.top_p,
    outputFolder: values.output_folder,
    typed: new Set(typed.keys()),
    outputFolderIsAsked: typed.get("output_folder") === "line",
    outputFile: values.output_file ?? undefined,
    resumeFromCheckpoint: values.resume_from_checkpoint ?? undefined,
    maxShardBytes: readShardSize(values.max_shard_size, faults),
    expName: values.exp_name,
    dsConfig: values.ds_config ?? undefined,
    localRank: values.local_rank,
    logSteps: values.log_steps,
    logFormat: values.log_format as TrainOptions["logFormat"],
    flags: { ...values, load_bit: effectiveLoadBit(values.peft_type, values) },
  };
};
