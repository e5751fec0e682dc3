import { join } from "node:path";
import { requireWritableFolder } from "../core/atomic-file.js";
import { UserError } from "../core/errors.js";
import type { JsonObject } from "../core/json-file.js";
import { findDataset, findSingleDataset } from "../datasets/registry.js";
import { hashModelFiles } from "../models/model-folder.js";
import { float32Tensors } from "../models/weights/frozen-weights.js";
import type { Adapter } from "../peft/adapter.js";
import { readAdapterInit } from "../peft/adapter-init.js";
import { buildAdapter, type AdapterSettings } from "../peft/build-adapter.js";
import { peftTypes, type PeftType } from "../peft/registry.js";
import { writeOutputJsonl, type OutputFile } from "../report/output-jsonl.js";
import type { ProgressUi } from "../report/progress.js";
import { trainableLine } from "../report/python-format.js";
import { runConfigName, writeRunConfig } from "../report/run-config.js";
import { createRunFolder, type RunFolderOptions } from "../report/run-folder.js";
import {
  describeHost,
  hashFiles,
  readCodeVersion,
  recordResumption,
  writeRunJson,
  type RunFacts,
} from "../report/run-json.js";
import { lockRunFolder } from "../report/run-lock.js";
import { runtimeVersion } from "../runtime/providers.js";
import { currentMemoryBytes } from "../runtime/memory.js";
import type { InterruptSignal } from "../train/interrupt.js";
import { requireKnownTokensOf } from "../train/known-tokens.js";
import { loadBase, packingOf, type BaseModel, type BaseStorage } from "../train/load-base.js";
import { requireModelName } from "../train/model-name.js";
import { momentAllocator, type MomentAllocator } from "../train/optimizer.js";
import { createParameterStore, type ParameterStore } from "../train/parameters.js";
import { DEFAULT_SEED, planTraining, type TrainingSettings } from "../train/training-settings.js";
import { loadTrainingData, type DataSettings, type TrainingData } from "../train/training-data.js";
import { countParameters, outputConfigOf } from "./output-header.js";
import { announceDecoding, openPredictor, predictSet, type PredictionSettings } from "./predict.js";
import { loadQuestions, type Questions } from "./questions.js";
import { trainWithReports, type ReportedTraining } from "./report-training.js";
import {
  describeSurroundings,
  openResumedRun,
  removeLaterCheckpoints,
  requireSameRun,
  type ResumedRun,
} from "./resume-run.js";

/** All that a training run is asked for; cli/train-options.ts makes it from the flags. */
export interface TrainingRunOptions
  extends TrainingSettings, DataSettings, PredictionSettings, AdapterSettings, BaseStorage {
  readonly peftType: string | undefined;
  /** Undefined where nobody has named one. */
  readonly modelName: string | undefined;
  readonly adapterInit: string | undefined;
  readonly outputFolder: string;
  /** A run's folder, one of its checkpoints, or "true" or "latest" for the newest run of this name that was stopped. */
  readonly resumeFromCheckpoint: string | undefined;
  readonly expName: string;
  readonly logSteps: number;
  /** Of the weight files of full fine-tuning, at most. */
  readonly maxShardBytes: number;
  readonly deepSpeed?: { readonly totalSteps?: number | undefined } | undefined;
  readonly seed: number | undefined;
  readonly threads: number | undefined;
  readonly maxNewTokens: number | undefined;
  readonly compat: TrainingSettings["compat"];
}

type NamedOptions = TrainingRunOptions & { readonly modelName: string };

/** How the run was asked for, for its records. */
export interface RunRecord {
  /** The arguments after `hira`. */
  readonly argv: readonly string[];
  /** Every flag with its effective value. */
  readonly flags: RunFacts["flags"];
  /** Every flag with its default. */
  readonly defaults: RunFacts["flags"];
  /** Line 1 of output.jsonl. */
  readonly originalFlags: OutputFile["flags"];
}

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
  options: Pick<TrainingRunOptions, "adapterInit" | "seed">,
  ui: ProgressUi,
  moments?: MomentAllocator,
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
  return createParameterStore(
    adapter,
    options.seed ?? DEFAULT_SEED,
    ({ name }) => given?.values.get(name),
    float32Tensors(base.weights),
    moments,
  );
};

/** Everything that a run needs, checked, before it has a folder. */
interface PreparedRun {
  readonly base: BaseModel;
  readonly adapter: Adapter;
  readonly store: ParameterStore;
  readonly data: TrainingData;
  /** What is answered at the end; undefined for rows of token ids, which have no test split. */
  readonly questions: Questions | undefined;
  readonly facts: RunFacts;
}

const loadTestQuestions = async (
  base: BaseModel,
  options: TrainingRunOptions,
): Promise<Questions | undefined> =>
  options.datasetFile === undefined && base.tokenizer
    ? loadQuestions(findSingleDataset(options.dataset), base, base.tokenizer, options)
    : undefined;

const prepareRun = async (
  peftType: PeftType,
  options: NamedOptions,
  record: RunRecord,
  ui: ProgressUi,
): Promise<PreparedRun> => {
  const startedAt = new Date();
  const base = await loadBase(
    options.modelName,
    { ...options, tokenizer: options.datasetFile === undefined ? "required" : "optional" },
    ui,
  );
  const { config } = base.folder;
  const data = await loadTrainingData(options, base);
  // The test rows too: a run of hours must not end at what could have been told before it.
  const questions = await loadTestQuestions(base, options);
  requireKnownTokensOf(base, [...data.unknown, ...(questions?.unknown ?? [])], {
    usesTokenizer: options.datasetFile === undefined,
  });
  for (const warning of data.warnings) ui.warn(warning);
  requireSameLength(options, data.train.length);
  requireNoDropout(base);
  const adapter = buildAdapter(peftType, config, options, options.compat, base.tokenizer);
  const { tokenizer } = base;
  // Before training: what cannot be decoded afterwards is told now.
  if (options.datasetFile === undefined && tokenizer)
    announceDecoding(
      [findSingleDataset(options.dataset)],
      { folder: base.folder, tokenizer, kind: adapter.method.kind },
      options,
      ui,
    );
  // A run that goes on has its values in the checkpoint; the file of its start may be gone.
  const { resumeFromCheckpoint: resumed, adapterInit } = options;
  const start = { ...options, adapterInit: resumed === undefined ? adapterInit : undefined };
  const moments = momentAllocator(options.optimizer, options.outputFolder);
  const store = await fillStore(base, adapter, start, ui, moments);
  const seed = options.seed ?? DEFAULT_SEED;
  const facts: RunFacts = {
    startedAt,
    argv: record.argv,
    flags: record.flags,
    seeds: { adapter: seed, data_order: options.compat.has("seed") ? DEFAULT_SEED : seed },
    model: {
      folder: base.folder.path,
      sha256: await hashModelFiles(base.folder),
      config: base.folder.rawConfig,
      quantization_config: quantizationConfig(options),
    },
    tokenizerHash: base.tokenizer?.hash,
    data: await hashFiles(Object.keys(data.files)),
    code: await readCodeVersion(),
    host: describeHost(runtimeVersion()),
  };
  return { base, adapter, store, data, questions, facts };
};

/** A new folder of its own for the run, with the records of how it was asked for. */
const openNewRun = async (
  options: TrainingRunOptions,
  name: RunFolderOptions,
  facts: RunFacts,
): Promise<Pick<ResumedRun, "runFolder" | "release">> => {
  const runFolder = await createRunFolder(options.outputFolder, name, facts.startedAt);
  const release = await lockRunFolder(runFolder);
  await writeRunJson(runFolder, facts);
  await writeRunConfig(runFolder, facts.flags);
  return { runFolder, release };
};

/** The folder of the run that goes on, once it is sure that this is the same run. */
const continueRun = async (
  resumed: ResumedRun,
  facts: RunFacts,
  { defaults }: RunRecord,
  ui: ProgressUi,
): Promise<void> => {
  requireSameRun(facts, resumed, defaults);
  const changes = describeSurroundings(facts, resumed);
  if (changes.length > 0)
    ui.warn(`The last bits may differ from an uninterrupted run's: ${changes.join(", ")}`);
  const { runFolder, checkpoint } = resumed;
  await recordResumption(runFolder, { ...facts, step: checkpoint.step });
  await removeLaterCheckpoints(resumed, ui);
  ui.line(`Going on from ${checkpoint.folder}`);
};

/**
 * A whole run: trains, loads the best checkpoint, answers the test split, writes the run folder. Rows of token ids have no
 * test split: their output.jsonl ends with its header.
 *
 * With `resumeFromCheckpoint` a run that was stopped goes on in its folder, to the bits it would have had without the stop.
 * Resolves to the run folder. A signal ends the run with a checkpoint and without answers.
 * @throws {UserError} on what the person can mend; nothing is written before model, data and flags have been checked
 */
export const runTraining = async (
  unnamed: TrainingRunOptions,
  record: RunRecord,
  ui: ProgressUi,
  interrupt: InterruptSignal,
): Promise<string> => {
  const options = { ...unnamed, modelName: requireModelName(unnamed.modelName) };
  const peftType = requirePeftType(options.peftType);
  const name: RunFolderOptions = {
    ...options,
    peftType,
    initAb: `${options.initAb.A},${options.initAb.B}`,
    trainAb: trainLetters(options),
  };
  const { resumeFromCheckpoint: asked, outputFolder } = options;
  const resumed =
    asked === undefined ? undefined : await openResumedRun(asked, outputFolder, name, ui);
  let release = resumed?.release;
  try {
    // Paged moments lie there also where a run goes on elsewhere.
    if (!resumed || options.optimizer === "paged_adamw_32bit")
      await requireWritableFolder(outputFolder);
    if (options.datasetFile === undefined) findDataset(options.dataset);
    const prepared = await prepareRun(peftType, options, record, ui);
    const { trainable, all } = countParameters(prepared.base, prepared.adapter);
    ui.line(trainableLine(trainable, all));
    interrupt.throwIfRequested();
    if (resumed) await continueRun(resumed, prepared.facts, record, ui);
    const opened = resumed ?? (await openNewRun(options, name, prepared.facts));
    ({ release } = opened);
    const { runFolder } = opened;
    ui.line(`Run folder: ${runFolder}`);
    const resumeFrom = resumed?.checkpoint;
    await finishRun({ ...prepared, options, record, runFolder, resumeFrom, ui, interrupt });
    return runFolder;
  } finally {
    await release?.();
  }
};

/** Trains, and unless a signal ends that, answers the test split and writes output.jsonl. */
const finishRun = async (
  job: ReportedTraining &
    Pick<PreparedRun, "questions"> & {
      readonly options: NamedOptions;
      readonly record: RunRecord;
    },
): Promise<void> => {
  const { base, adapter, questions, options, record, runFolder, ui } = job;
  const result = await trainWithReports(job);
  if (result.interrupted) {
    ui.line(
      `Stopped after ${String(result.steps)} of ${String(result.totalSteps)} steps${result.steps > 0 ? `; to go on: hira train --config=${join(runFolder, runConfigName)} --resume_from_checkpoint=${runFolder}` : ""}`,
    );
    return;
  }
  const { best } = result.evaluations;
  if (best && result.bestCheckpoint !== undefined)
    ui.line(
      `Loading best model from ${join(runFolder, result.bestCheckpoint)} (score: ${String(best.evalLoss)}).`,
    );

  const memUsedMiB = Math.round(currentMemoryBytes() / 2 ** 20);
  const rows = questions ? await answerTest(questions, job) : [];
  await writeOutputJsonl(join(runFolder, "output.jsonl"), {
    flags: record.originalFlags,
    adapterConfig: outputConfigOf(base, adapter, options.modelName, {
      initA: options.initAb.A,
      initB: options.initAb.B,
      targetModules: options.targetModules.split(",").map((name) => name.trim()),
      trainA: options.trainAb.A,
      trainB: options.trainAb.B,
    }),
    summary: { memUsedMiB, trainSeconds: result.trainSeconds },
    parameters: countParameters(base, adapter),
    rows,
  });
};

/**
 * A storage by the names of transformers' BitsAndBytesConfig, so that the base can be loaded alike there; undefined for floats.
 *
 * Source: BitsAndBytesConfig.to_dict of transformers 5.23.
 */
export const quantizationConfig = (storage: BaseStorage): JsonObject | undefined => {
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

/** Training without the model's own dropout would be another training. */
const requireNoDropout = ({ folder: { config, path } }: BaseModel): void => {
  if (config.attentionDropout > 0)
    throw new UserError(
      `Cannot train ${path}: found attention_dropout ${String(config.attentionDropout)} in config.json, expected 0`,
      "Attention dropout is not built: set it to 0 in a copy of the model's folder",
    );
};

const trainLetters = ({ trainAb }: AdapterSettings): string =>
  (trainAb.A ? "y" : "n") + (trainAb.B ? "y" : "n");

const answerTest = async (
  questions: Questions,
  {
    base,
    adapter,
    store,
    options,
    ui,
    interrupt,
  }: ReportedTraining & { readonly options: TrainingRunOptions },
) => {
  if (!base.tokenizer) throw new RangeError("Cannot answer rows without a tokenizer");
  const predictor = await openPredictor(
    base,
    base.tokenizer,
    { adapter, values: store.values },
    [questions.dataset],
    options,
  );
  try {
    return await predictSet(questions, predictor, options, ui, interrupt.abort);
  } finally {
    predictor.dispose();
  }
};
