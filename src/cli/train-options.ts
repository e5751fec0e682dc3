import type { AdapterSettings } from "../peft/build-adapter.js";
import type { TrainingSettings } from "../train/training-settings.js";
import { compatNames, type Compat, type CompatName } from "../core/compat.js";
import { didYouMean } from "../core/errors.js";
import type { Precision } from "../core/precision.js";
import { isPreTokenizedName } from "../datasets/registry.js";
import { parseShardSize } from "../models/shards.js";
import { namedInitializers } from "../peft/init.js";
import type { MoraType, SparsitySettings } from "../peft/method.js";
import type { QloraAdapter } from "../peft/qlora.js";
import type { GivenFlags } from "../evaluate/recorded-flags.js";
import type { BaseStorage } from "../train/load-base.js";
import type { Optimizer } from "../train/optimizer.js";
import type { DeepSpeedConfig } from "../distributed/ds-config.js";
import {
  readDropout,
  readEncoder,
  readLayers,
  readModulesToSave,
  readRankPattern,
} from "./adapter-options.js";
import { chosenModel, readGivenFlags } from "./given-flags.js";
import { isReadByMethod } from "./model-reads.js";
import { listed, type FlagFault, type ValuesOf } from "./flag.js";
import {
  flags,
  originalFlagNames,
  pickFlags,
  type FlagValues,
  type OriginalFlags,
} from "./options.js";
import { effectiveLoadBit, readBaseStorage, storageFlagNames } from "./storage-options.js";

/** The flags that say what the model is and how it is tuned, for every command that builds an adapter. */
export const modelFlagNames = [
  "model_name",
  "peft_type",
  "r_ab",
  "lora_alpha",
  ...storageFlagNames,
  "qlora_adapter",
  "r_lora",
  "mora_type",
  "target_modules",
  "init_ab",
  "train_ab",
  "rand_R",
  "virtual_tokens",
  "sparsity",
  "sparse_method",
  "sparse_schedule",
  "sparse_start",
  "sparse_end",
  "l1_weight",
  "layers",
  "modules_to_save",
  "rank_pattern",
  "prefix_projection",
  "encoder_hidden_size",
  "encoder_reparameterization_type",
  "encoder_num_layers",
  "prompt_init_text",
  "adapter_init",
] as const;

/** The flags of `hira train`: all of train_hira.py's, then ours. */
export const trainFlags = pickFlags([
  ...originalFlagNames,
  "resume_from_checkpoint",
  "max_shard_size",
  "data_dir",
  "validation",
  "shuffle",
  ...modelFlagNames,
  "lora_dropout",
  "optim",
  "max_grad_norm",
  "max_steps",
  "compat",
  "limit",
  "temperature",
  "top_k",
  "top_p",
  "device",
  "precision",
  "threads",
  "log_steps",
]);

export type TrainFlagValues = ValuesOf<typeof trainFlags>;

/** What the model is and how it is tuned. */
export interface ModelOptions extends AdapterSettings, BaseStorage {
  /** Undefined only where the checkpoint says it, or nothing is trained. */
  readonly peftType: string | undefined;
  /** A folder; undefined where nobody has named one, see chosenModel. */
  readonly modelName: string | undefined;
  readonly adapterInit: string | undefined;
  readonly givenFlags: GivenFlags;
}

export interface DataOptions {
  /** Undefined: what resolveDataRoot finds. */
  readonly dataDir: string | undefined;
  /** A name of the data set table, or what `datasetFile` says. */
  readonly dataset: string;
  /** Pre-tokenized rows, taken as they are. */
  readonly datasetFile: string | undefined;
  readonly validation: string | undefined;
  readonly datasetRatio: number;
  readonly datasetAnalysis: boolean;
  readonly numWorkers: number;
  readonly shuffle: boolean;
  /** Rows answered of each set; undefined for all. */
  readonly limit: number | undefined;
}

export interface DeviceOptions {
  readonly device: string;
  readonly precision: Precision;
  readonly threads: number | undefined;
}

/** All that `hira train` was asked for, checked. */
export interface TrainOptions extends ModelOptions, DataOptions, DeviceOptions, TrainingSettings {
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
  readonly resumeFromCheckpoint: string | undefined;
  /** In bytes. */
  readonly maxShardBytes: number;
  readonly expName: string;
  readonly dsConfig: string | undefined;
  /** What `dsConfig` says, read and checked by the command. */
  readonly deepSpeed?: DeepSpeedConfig;
  readonly localRank: number;
  readonly logSteps: number;
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

/** The behaviours that a --compat value switches on, or what is wrong with it. */
export const readCompat = (text: string | null, faults: FlagFault[]): Compat => {
  const names = (text ?? "").split(",").map((name) => name.trim());
  if (text === null) return new Set();
  if (names.includes("reference")) {
    if (names.length === 1) return new Set(compatNames);
    faults.push({ what: "--compat", found: JSON.stringify(text), expected: "reference alone" });
  }
  const known: readonly string[] = compatNames;
  for (const name of names) {
    if (known.includes(name) || name === "reference") continue;
    const hint = didYouMean(name, ["reference", ...compatNames]);
    faults.push({
      what: "--compat",
      found: JSON.stringify(name),
      expected: `reference, or some of ${compatNames.join(", ")}`,
      ...(hint === undefined ? {} : { hint }),
    });
  }
  return new Set(names as CompatName[]);
};

const checkTargets = (text: string, faults: FlagFault[]): string => {
  // An empty ending would match every module.
  if (text.split(",").some((name) => name.trim() === ""))
    faults.push({
      what: "--target_modules",
      found: JSON.stringify(text),
      expected: "names with one comma between them",
    });
  return text;
};

const readInitAb = (text: string, compat: Compat, faults: FlagFault[]): ModelOptions["initAb"] => {
  const names = text.split(",").map((name) => name.trim());
  const [A = "", B = ""] = names;
  if (names.length !== 2 || !names.every((name) => name in namedInitializers))
    faults.push({
      what: "--init_ab",
      found: JSON.stringify(text),
      expected: `two of ${Object.keys(namedInitializers).join(", ")} with a comma between them`,
    });
  else if (compat.has("init")) return { A: "kaiming", B: "zero" };
  else if (A === "zero" && B === "zero")
    faults.push({
      what: "--init_ab",
      found: JSON.stringify(text),
      expected: "one of the two not to be zero: else both gradients stay zero",
    });
  return { A, B };
};

const readTrainAb = (text: string, faults: FlagFault[]): ModelOptions["trainAb"] => {
  if (!/^[yn]{2}$/.test(text) || text === "nn")
    faults.push({
      what: "--train_ab",
      found: JSON.stringify(text),
      expected: "yy, yn or ny: a letter for A and one for B",
    });
  return { A: text.startsWith("y"), B: text.endsWith("y") };
};

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

const readSparsity = (
  values: Pick<
    FlagValues,
    "sparsity" | "sparse_method" | "sparse_schedule" | "sparse_start" | "sparse_end" | "l1_weight"
  >,
  faults: FlagFault[],
): SparsitySettings => {
  const { sparsity, sparse_start: start, sparse_end: end } = values;
  if (sparsity >= 1)
    faults.push({ what: "--sparsity", found: String(sparsity), expected: "a share below 1" });
  if (start !== null && end !== null && start > end)
    faults.push({
      what: "--sparse_start",
      found: `${String(start)}, after --sparse_end ${String(end)}`,
      expected: "an earlier update",
    });
  return {
    sparsity,
    method: values.sparse_method as SparsitySettings["method"],
    schedule: values.sparse_schedule as SparsitySettings["schedule"],
    startStep: start ?? undefined,
    endStep: end ?? undefined,
    l1Weight: values.l1_weight,
  };
};

const readQloraAdapter = (
  { peft_type: peftType, qlora_adapter: name }: Pick<FlagValues, "peft_type" | "qlora_adapter">,
  faults: FlagFault[],
): QloraAdapter => {
  if (name !== null && peftType !== "qlora")
    faults.push({
      what: "--qlora_adapter",
      found: `${name} with --peft_type ${peftType ?? "missing"}`,
      expected: "--peft_type qlora",
      hint: `For ${name} on a quantized base, --peft_type ${name} --load_bit 4 says the same`,
    });
  return (name ?? "lora") as QloraAdapter;
};

/** The model's part of the options, for every command that loads one. Faults are added to `faults`. */
export const readModelOptions = (
  values: Pick<FlagValues, (typeof modelFlagNames)[number] | "ckpt">,
  given: ReadonlySet<string>,
  { compat, faults }: { readonly compat: Compat; readonly faults: FlagFault[] },
): ModelOptions => ({
  peftType: values.peft_type ?? undefined,
  modelName: chosenModel(values, given),
  givenFlags: readGivenFlags(values, given),
  adapterInit: values.adapter_init ?? undefined,
  ...readBaseStorage(values, values.peft_type, faults),
  qloraAdapter: readQloraAdapter(values, faults),
  rank: values.r_ab,
  loraAlpha: values.lora_alpha,
  rLora: values.r_lora ?? values.r_ab,
  moraType: values.mora_type as MoraType,
  targetModules: checkTargets(values.target_modules, faults),
  layers: readLayers(values.layers, faults),
  modulesToSave: readModulesToSave(values.modules_to_save, faults),
  rankPattern: readRankPattern(values.rank_pattern, faults),
  initAb: readInitAb(values.init_ab, compat, faults),
  trainAb: readTrainAb(values.train_ab, faults),
  // Where the method has no use for it, a warning names it.
  randR: values.rand_R && isReadByMethod("rand_R", values),
  sparsity: readSparsity(values, faults),
  virtualTokens: values.virtual_tokens,
  prefixProjection: values.prefix_projection,
  encoderHiddenSize: values.encoder_hidden_size ?? undefined,
  ...readEncoder(values, faults),
  promptInitText: values.prompt_init_text ?? undefined,
});

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

/** What must hold between the flags of `hira train`, whatever each one's own limits. */
const crossFaults = (values: TrainFlagValues, datasetFile: boolean): FlagFault[] => {
  const faults: FlagFault[] = [];
  const trains = values.ckpt === null && !values.dataset_analysis;
  const { choices } = flags.peft_type;
  if (values.peft_type === null && values.ckpt === null && !values.dataset_analysis)
    faults.push({
      what: "--peft_type",
      found: "nothing",
      expected: listed(choices),
      hint: `Choose how to tune the model, for example --peft_type ${choices[0]}`,
    });
  // Source: TrainingArguments of transformers, which counts whole updates from 1 up.
  const { eval_steps: evalSteps, eval_strategy: evalStrategy } = values;
  if (evalStrategy === "steps" && evalSteps > 1 && !Number.isInteger(evalSteps))
    faults.push({
      what: "--eval_steps",
      found: String(evalSteps),
      expected: "a whole number of updates, or a share below 1",
    });
  if (evalStrategy === "no" && values.early_stop_patience > 0)
    faults.push({
      what: "--early_stop_patience",
      found: `${String(values.early_stop_patience)} with --eval_strategy no`,
      expected: "--eval_strategy steps or epoch: without evaluations nothing can stop",
    });
  for (const name of ["compute_rank", "compute_norm"] as const)
    if (values[name] && values.ckpt === null)
      faults.push({ what: `--${name}`, found: "no --ckpt", expected: "one beside it" });
  if (values.resume_from_checkpoint !== null && !trains)
    faults.push({
      what: "--resume_from_checkpoint",
      found: values.ckpt === null ? "--dataset_analysis beside it" : "--ckpt beside it",
      expected: "a training run",
      hint: "--ckpt evaluates what was trained; leave it out to train on",
    });
  if (values.dataset === "common_all" && values.ckpt === null && !values.dataset_analysis)
    faults.push({
      what: "--dataset",
      found: '"common_all" without --ckpt',
      expected: "a set to train on",
      hint: "common_all answers the eight commonsense sets with a trained adapter; train on common_170k",
    });
  if (values.validation !== null && !datasetFile)
    faults.push({
      what: "--validation",
      found: `--dataset ${values.dataset}, which has its own validation rows`,
      expected: "a --dataset that is a file",
    });
  if (datasetFile && trains && values.validation === null && evalStrategy !== "no")
    faults.push({
      what: "--eval_strategy",
      found: `${JSON.stringify(evalStrategy)} without --validation`,
      expected: "no, or --validation FILE",
    });
  return faults;
};

/** The options of `hira train` from its flags. What is wrong is added to `faults`; the options then serve no purpose. */
export const readTrainOptions = (
  values: TrainFlagValues,
  given: ReadonlySet<string>,
  faults: FlagFault[],
): TrainOptions => {
  const compat = readCompat(values.compat, faults);
  const datasetFile = isPreTokenizedName(values.dataset);
  faults.push(...crossFaults(values, datasetFile));
  return {
    ...readModelOptions(values, given, { compat, faults }),
    loraDropout: readDropout(values.lora_dropout, faults),
    compat,
    dataDir: values.data_dir ?? undefined,
    dataset: values.dataset,
    datasetFile: datasetFile ? values.dataset : undefined,
    validation: values.validation ?? undefined,
    datasetRatio: values.dataset_ratio,
    datasetAnalysis: values.dataset_analysis,
    numWorkers: values.num_workers,
    shuffle: values.shuffle,
    limit: values.limit ?? undefined,
    device: values.device,
    precision: (values.precision ?? "fp32") as Precision,
    threads: values.threads ?? undefined,
    batch: values.batch,
    gradAcc: values.grad_acc,
    epoch: values.epoch,
    maxSteps: values.max_steps ?? undefined,
    lr: values.lr,
    warmup: values.warmup,
    weightDecay: values.weight_decay,
    optimizer: values.optim as Optimizer,
    maxGradNorm: values.max_grad_norm,
    seed: values.seed ?? undefined,
    enableGradCkpt: values.enable_grad_ckpt,
    evalStrategy: values.eval_strategy as TrainOptions["evalStrategy"],
    evalSteps: values.eval_steps,
    saveTotalLimit: values.save_total_limit,
    earlyStopPatience: values.early_stop_patience,
    ckpt: values.ckpt ?? undefined,
    loadOrder: values.load_order,
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
    resumeFromCheckpoint: values.resume_from_checkpoint ?? undefined,
    maxShardBytes: readShardSize(values.max_shard_size, faults),
    expName: values.exp_name,
    dsConfig: values.ds_config ?? undefined,
    localRank: values.local_rank,
    logSteps: values.log_steps,
    flags: { ...values, load_bit: effectiveLoadBit(values.peft_type, values) },
  };
};
