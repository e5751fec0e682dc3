import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { requireWritableFolder } from "../core/atomic-file.js";
import { UserError } from "../core/errors.js";
import type { JsonObject } from "../core/json-file.js";
import { resolveDataRoot } from "../datasets/data-root.js";
import { isClassSetName } from "../datasets/class-sets.js";
import { ownTemplateNames } from "../datasets/own-encode.js";
import { shardPaths } from "../datasets/parquet-shards.js";
import { findSingleDataset, hasAnswers } from "../datasets/registry.js";
import { isClassifier } from "../models/classifier.js";
import { hashModelFiles } from "../models/model-folder.js";
import { float32Tensors } from "../models/weights/frozen-weights.js";
import type { Adapter } from "../peft/adapter.js";
import { readAdapterInit } from "../peft/adapter-init.js";
import { buildAdapter } from "../peft/build-adapter.js";
import { peftTypes, type PeftType } from "../peft/registry.js";
import type { ProgressUi } from "../report/progress.js";
import { describeHost, hashFiles, readCodeVersion, type RunFacts } from "../report/run-json.js";
import type { Planned } from "../runtime/compute-plan.js";
import { runtimeVersion } from "../runtime/ort/version.js";
import { loadClassQuestions, type ClassQuestions } from "../train/class-data.js";
import { withClassifier } from "../train/classifier-base.js";
import { requireKnownTokensOf } from "../train/known-tokens.js";
import { loadBase, packingOf, type BaseModel, type BaseStorage } from "../train/load-base.js";
import { momentAllocator, offloadedOptimizer } from "../train/optimizer.js";
import { validationShare } from "../train/own-texts.js";
import {
  createParameterStore,
  type ParameterStore,
  type StoreOptions,
} from "../train/parameters.js";
import { isEvaluationStep } from "../train/schedule.js";
import { isPruned } from "../train/sparsity.js";
import { learnsClasses, loadTrainingData } from "../train/training-data.js";
import type { TrainingData } from "../train/loaded-data.js";
import { DEFAULT_SEED, planTraining } from "../train/training-settings.js";
import { announceDecoding } from "./predict.js";
import { loadQuestions, type Questions } from "./questions.js";
import { soloGroup, type ProcessGroup } from "../distributed/process-group.js";
import { createShardedStore } from "../train/sharded-store.js";
import { shardingOf, type Sharding } from "../train/sharding.js";
import type { AdapterStart } from "./start-adapter.js";
import type { TrainingRunOptions, RunRecord } from "./training-run-options.js";

/** Options of a run whose model is known. */
export type NamedOptions = TrainingRunOptions & { readonly modelName: string };

/** A --peft_type that this version has. @throws {UserError} otherwise */
export const requirePeftType = (name: string | undefined): PeftType => {
  const found = peftTypes.find((known) => known === name);
  if (found) return found;
  throw new UserError(
    `Cannot use --peft_type=${name ?? ""}: expected one of ${peftTypes.join(", ")}`,
  );
};

/** The parameters at their start: from --adapter_init where it has them, else the checkpoint's (fft) or drawn from the seed. */
export const fillStore = async (
  base: BaseModel,
  adapter: Adapter,
  options: Pick<TrainingRunOptions, "adapterInit" | "seed"> & {
    /** Of an adapter that goes on, by the parameters' names. */
    readonly startValues?: ReadonlyMap<string, Float32Array> | undefined;
  },
  ui: ProgressUi,
  {
    sharding,
    ...place
  }: Pick<StoreOptions, "device" | "moments"> & { readonly sharding?: Sharding | undefined },
): Promise<ParameterStore> => {
  const shapes = new Map(adapter.parameters.map(({ name, shape }) => [name, shape]));
  const given =
    options.adapterInit === undefined
      ? undefined
      : await readAdapterInit(options.adapterInit, shapes, adapter.method.name, base.folder);
  if (given && given.unused.length > 0)
    ui.warn(
      `${options.adapterInit ?? ""}: ${String(given.unused.length)} tensors are no parameters of this run: ${given.unused.slice(0, 5).join(", ")}${given.unused.length > 5 ? ", ..." : ""}`,
    );
  const seed = options.seed ?? DEFAULT_SEED;
  const startOf = ({ name }: { readonly name: string }): Float32Array | undefined =>
    options.startValues?.get(name) ?? given?.values.get(name);
  const tensors = float32Tensors(base.weights);
  return sharding
    ? createShardedStore(
        adapter,
        { seed, start: startOf, base: tensors, moments: place.moments },
        sharding,
      )
    : createParameterStore(adapter, seed, startOf, { ...place, base: tensors });
};

/** Everything that a run needs, checked, before it has a folder. */
export interface PreparedRun {
  readonly base: BaseModel;
  readonly adapter: Adapter;
  readonly store: ParameterStore;
  readonly data: TrainingData;
  /** What is answered at the end; undefined where nothing is, see hasAnswers. */
  readonly questions: Questions | undefined;
  /** The test rows of a set with classes. */
  readonly classQuestions: ClassQuestions | undefined;
  readonly facts: RunFacts;
}

/** What a run goes on from, and who runs it. */
interface PreparedFor {
  readonly from?: AdapterStart | undefined;
  /** The processes that share the run's state out, if its --ds_config asks for that. Default: this one alone. */
  readonly group?: ProcessGroup | undefined;
}

const loadTestQuestions = async (
  base: BaseModel,
  options: TrainingRunOptions,
): Promise<Questions | undefined> =>
  hasAnswers(options.dataset) && base.tokenizer && !options.measuresOnly
    ? loadQuestions(findSingleDataset(options.dataset), base, base.tokenizer, options)
    : undefined;

/**
 * The base as what is learnt asks for it: a classifier for rows with classes.
 *
 * @throws {UserError} if its family has no classifier, or --metric_for_best names a figure of classes
 */
const modelOfTask = (
  base: BaseModel,
  { labels, padId }: TrainingData,
  { seed = DEFAULT_SEED, metricForBest = "loss" }: NamedOptions,
): BaseModel => {
  if (labels) return withClassifier(base, labels, { seed, padId });
  if (metricForBest !== "loss")
    throw new UserError(
      `Cannot use --metric_for_best=${metricForBest}: found rows without classes, expected loss`,
      "Accuracy, F1 and Matthews' correlation are for --task=sequence-classification",
    );
  return base;
};

/** Loads model and data, and makes the parameters at their start, which is `from` where an adapter goes on. @throws {UserError} on what the person can mend */
export const prepareRun = async (
  peftType: PeftType,
  options: NamedOptions & Planned,
  record: RunRecord,
  ui: ProgressUi,
  { from, group = soloGroup }: PreparedFor = {},
): Promise<PreparedRun> => {
  const startedAt = new Date();
  const bare =
    from?.base ??
    (await loadBase(
      options.modelName,
      {
        ...options,
        tokenizer: options.datasetFile === undefined ? "required" : "optional",
        encoder: learnsClasses(options) ? "allowed" : "refused",
      },
      ui,
    ));
  const modelHashes = await hashModelFiles(bare.folder);
  const code = readCodeVersion();
  // Where something else is wrong, that is what is told.
  code.catch(() => undefined);
  const data = await loadTrainingData(options, bare);
  const base = modelOfTask(bare, data, options);
  const { model } = base.folder;
  // The test rows too: a run of hours must not end at what could have been told before it.
  const questions = await loadTestQuestions(base, options);
  const classQuestions =
    isClassifier(model) && isClassSetName(options.dataset) && !options.measuresOnly
      ? await loadClassQuestions(options, base, model.labels)
      : undefined;
  const asked = questions ?? classQuestions;
  requireKnownTokensOf(base, [...data.unknown, ...(asked?.unknown ?? [])], {
    usesTokenizer: options.datasetFile === undefined || data.usesTokenizer === true,
  });
  for (const line of [...(data.remarks ?? []), ...(data.shown ?? [])]) ui.line(line);
  // A file that serves as validation and as test says the same twice.
  for (const warning of new Set([...data.warnings, ...(asked?.warnings ?? [])])) ui.warn(warning);
  requireSameLength(options, data.train.length);
  requireDropout(base, options.modelDropout);
  const adapter =
    from?.adapter ?? buildAdapter(peftType, model, options, options.compat, base.tokenizer);
  if (data.choiceWarning !== undefined && choosesCheckpoint(options, data, adapter))
    ui.warn(data.choiceWarning);
  const { tokenizer } = base;
  // Before training: what cannot be decoded afterwards is told now.
  if (questions && tokenizer)
    announceDecoding(
      [findSingleDataset(options.dataset)],
      { folder: base.folder, tokenizer, kind: adapter.method.kind },
      options,
      ui,
    );
  // A run that goes on has its values in the checkpoint; the file of its start may be gone.
  const { resumeFromCheckpoint: resumed, adapterInit } = options;
  const start = {
    ...options,
    adapterInit: resumed === undefined ? adapterInit : undefined,
    startValues: from?.values,
  };
  // Paged moments are files there, made before the run has a folder of its own.
  const { device } = options.plan;
  const { optimizer, folder } = offloadedOptimizer(options, options.outputFolder, device);
  if (optimizer === "paged_adamw_32bit") await requireWritableFolder(folder);
  const moments = momentAllocator(optimizer, folder, device);
  const { hiddenSize } = base.folder.model;
  const sharding = shardingOf(options.zero, group, { hiddenSize, adapter, device });
  const store = await fillStore(base, adapter, start, ui, { device, moments, sharding });
  const seed = options.seed ?? DEFAULT_SEED;
  const facts: RunFacts = {
    startedAt,
    argv: record.argv,
    flags: record.flags,
    processes: options.processes ?? 1,
    updates: updatesOf(options),
    seeds: { adapter: seed, data_order: options.compat.has("seed") ? DEFAULT_SEED : seed },
    model: {
      folder: base.folder.path,
      sha256: await modelHashes(),
      config: base.folder.rawConfig,
      quantization_config: quantizationConfig(options),
    },
    tokenizerHash: base.tokenizer?.hash,
    data: await hashFiles(Object.keys(data.files).flatMap(shardPaths)),
    code: await code,
    host: describeHost(runtimeVersion()),
  };
  return { base, adapter, store, data, questions, classQuestions, facts };
};

/**
 * A storage by the names of transformers' BitsAndBytesConfig, so that the base can be loaded alike there; undefined for floats.
 *
 * Source: BitsAndBytesConfig.to_dict of transformers 5.23.
 */
const quantizationConfig = (storage: BaseStorage): JsonObject | undefined => {
  const packing = packingOf(storage);
  if (!packing) return undefined;
  const fourBit = packing.kind === "4bit";
  return {
    quant_method: "bitsandbytes",
    load_in_4bit: fourBit,
    load_in_8bit: !fourBit,
    ...(fourBit
      ? {
          bnb_4bit_quant_type: packing.type,
          bnb_4bit_use_double_quant: packing.doubleQuant,
          bnb_4bit_compute_dtype: "float32",
        }
      : // LLM.int8() keeps columns of large activations in floats; here none are.
        { llm_int8_threshold: 0 }),
  };
};

/** Whether validation has a choice: there are two checkpoints at least that may be the run's result. */
const choosesCheckpoint = (
  options: TrainingRunOptions,
  { train }: TrainingData,
  adapter: Adapter,
): boolean => {
  const plan = planTraining(options, train.length);
  const steps = Array.from({ length: plan.totalSteps }, (_, i) => i + 1);
  const candidates = steps.filter(
    (step) => isEvaluationStep(plan, step) && isPruned(adapter.pruning, step, plan.totalSteps),
  );
  return candidates.length > 1;
};

/** Absolute paths of what the flags name, by the flags' names. */
export const foundPaths = async (
  options: TrainingRunOptions,
  { model, flags }: Pick<RunFacts, "model" | "flags">,
): Promise<Readonly<Record<string, string>>> => {
  const named = ["validation", "template", "adapter_init", "ds_config"].flatMap((name) => {
    const path = flags[name];
    const isNoPath =
      typeof path === "string" &&
      ((name === "validation" && validationShare(path) !== undefined) ||
        (name === "template" && (ownTemplateNames as readonly string[]).includes(path)));
    if (isNoPath) return [];
    return typeof path === "string" ? [[name, resolve(path)] as const] : [];
  });
  // A name on the Hub is no path.
  const adapter = options.adapter !== undefined && existsSync(options.adapter);
  const data =
    options.datasetFile === undefined
      ? { data_dir: await resolveDataRoot({ dataDir: options.dataDir }) }
      : { dataset: resolve(options.datasetFile) };
  return {
    model_name: model.folder,
    ...data,
    ...Object.fromEntries(named),
    ...(adapter && { adapter: resolve(options.adapter ?? "") }),
  };
};

/** What a --ds_config says of updates, for records. */
const updatesOf = ({
  adam,
  scheduler,
  lossScaling,
  plan,
}: TrainingRunOptions & Planned): RunFacts["updates"] => {
  const said = {
    ...(adam && Object.keys(adam).length > 0 && { adam }),
    ...(scheduler && { scheduler }),
    ...(plan.precision === "fp16" && lossScaling && { loss_scaling: lossScaling }),
  };
  return Object.keys(said).length > 0
    ? (JSON.parse(JSON.stringify(said)) as RunFacts["updates"])
    : undefined;
};

/** A schedule that a ds_config gives its own length must have the run's. */
const requireSameLength = (options: TrainingRunOptions, rows: number): void => {
  const { totalSteps } = planTraining(options, rows);
  const named = options.deepSpeed?.totalSteps;
  if (named !== undefined && named !== totalSteps)
    throw new UserError(
      `Cannot follow the scheduler of --ds_config: found total_num_steps ${String(named)}, expected the run's ${String(totalSteps)} updates`,
      'Write "auto", or set --epoch or --max_steps so that they agree',
    );
};

/** A rate that no part of the model reads would be without effect. */
const requireDropout = (
  { folder: { model, path } }: BaseModel,
  modelDropout: number | undefined,
): void => {
  if (model.dropout === undefined && modelDropout !== undefined && modelDropout > 0)
    throw new UserError(
      `Cannot use --model_dropout=${String(modelDropout)} with ${path}: found model_type "${model.modelType}", which drops no hidden states, expected 0 or none`,
      "Leave the flag out; its config's attention_dropout acts in training, and --model_dropout=0 switches it off",
    );
};
