import { join } from "node:path";
import { requireWritableFolder } from "../core/atomic-file.js";
import { UserError } from "../core/errors.js";
import { findDataset, findSingleDataset } from "../datasets/registry.js";
import { hashModelFiles } from "../models/model-folder.js";
import { float32Tensors } from "../models/weights/frozen-weights.js";
import type { Adapter } from "../peft/adapter.js";
import { readAdapterInit } from "../peft/adapter-init.js";
import { buildAdapter, type AdapterSettings } from "../peft/build-adapter.js";
import { peftMethods, type PeftType } from "../peft/registry.js";
import { openMetrics } from "../report/metrics.js";
import { writeOutputJsonl, type OutputFile } from "../report/output-jsonl.js";
import type { ProgressUi } from "../report/progress.js";
import { trainableLine } from "../report/python-format.js";
import { writeRunConfig } from "../report/run-config.js";
import { createRunFolder } from "../report/run-folder.js";
import { describeHost, hashFiles, readCodeVersion, writeRunJson } from "../report/run-json.js";
import { openTensorBoard } from "../report/tensorboard.js";
import { runtimeVersion } from "../runtime/providers.js";
import { currentMemoryBytes } from "../runtime/memory.js";
import type { InterruptSignal } from "../train/interrupt.js";
import { loadBase, type BaseModel } from "../train/load-base.js";
import { createParameterStore, type ParameterStore } from "../train/parameters.js";
import {
  DEFAULT_SEED,
  planTraining,
  trainAdapter,
  type TrainingEvents,
  type TrainingResult,
  type TrainingSettings,
} from "../train/train-adapter.js";
import { readTrainedWeights, writeTrainedWeights } from "../train/trained-weights.js";
import { loadTrainingData, type DataSettings } from "../train/training-data.js";
import { countParameters, outputConfigOf } from "./output-header.js";
import { openPredictor, predictSet, type PredictionSettings } from "./predict.js";

/** All that a training run is asked for; cli/train-options.ts makes it from the flags. */
export interface TrainingRunOptions
  extends TrainingSettings, DataSettings, PredictionSettings, AdapterSettings {
  readonly peftType: string | undefined;
  readonly modelName: string;
  readonly adapterInit: string | undefined;
  readonly loadBit: number;
  readonly outputFolder: string;
  readonly expName: string;
  readonly logSteps: number;
  readonly deepSpeed?: { readonly totalSteps?: number | undefined } | undefined;
  readonly seed: number | undefined;
  readonly threads: number | undefined;
  readonly maxNewTokens: number | undefined;
  readonly compat: TrainingSettings["compat"];
}

/** How the run was asked for, for its records. */
export interface RunRecord {
  /** The arguments after `hira`. */
  readonly argv: readonly string[];
  /** Every flag with its effective value. */
  readonly flags: Readonly<Record<string, string | number | boolean | null>>;
  /** Line 1 of output.jsonl. */
  readonly originalFlags: OutputFile["flags"];
}

/** A --peft_type that this version has. @throws {UserError} otherwise */
export const requirePeftType = (name: string | undefined): PeftType => {
  if (name !== undefined && Object.hasOwn(peftMethods, name)) return name as PeftType;
  throw new UserError(
    `Cannot use --peft_type=${name ?? ""}: expected one of ${Object.keys(peftMethods).join(", ")}`,
  );
};

/** The parameters at their start: from --adapter_init where it has them, else the checkpoint's (fft) or drawn from the seed. */
export const fillStore = async (
  base: BaseModel,
  adapter: Adapter,
  options: Pick<TrainingRunOptions, "adapterInit" | "seed">,
  ui: ProgressUi,
): Promise<ParameterStore> => {
  const shapes = new Map(adapter.parameters.map(({ name, shape }) => [name, shape]));
  const given =
    options.adapterInit === undefined
      ? undefined
      : await readAdapterInit(options.adapterInit, shapes, adapter.method.name);
  if (given && given.unused.length > 0)
    ui.warn(
      `${options.adapterInit ?? ""}: ${String(given.unused.length)} tensors are no parameters of this run: ${given.unused.slice(0, 5).join(", ")}${given.unused.length > 5 ? ", ..." : ""}`,
    );
  return createParameterStore(
    adapter,
    options.seed ?? DEFAULT_SEED,
    ({ name }) => given?.values.get(name),
    float32Tensors(base.weights),
  );
};

/**
 * A whole run: trains, loads the best checkpoint, answers the test split, writes the run folder. Rows of token ids have no
 * test split: their output.jsonl ends with its header.
 *
 * Resolves to the run folder. A signal ends the run with a checkpoint and without answers.
 * @throws {UserError} on what the person can mend; nothing is written before model, data and flags have been checked
 */
export const runTraining = async (
  options: TrainingRunOptions,
  record: RunRecord,
  ui: ProgressUi,
  interrupt: InterruptSignal,
): Promise<string> => {
  const startedAt = new Date();
  const peftType = requirePeftType(options.peftType);
  await requireWritableFolder(options.outputFolder);
  if (options.datasetFile === undefined) findDataset(options.dataset);
  const base = await loadBase(options.modelName, {
    loadBit: options.loadBit,
    tokenizer: options.datasetFile === undefined ? "required" : "optional",
  });
  const { config } = base.folder;
  const data = await loadTrainingData(options, base.tokenizer, {
    vocabularySize: config.vocabSize,
    padId: base.folder.tokenIds.padId ?? 0,
  });
  for (const warning of data.warnings) ui.warn(warning);
  requireSameLength(options, data.train.length);
  requireNoDropout(base);
  const adapter = buildAdapter(peftType, config, options, options.compat, base.tokenizer);
  const store = await fillStore(base, adapter, options, ui);
  const parameters = countParameters(base, adapter);
  ui.line(trainableLine(parameters.trainable, parameters.all));
  interrupt.throwIfRequested();

  const runFolder = await createRunFolder(
    options.outputFolder,
    {
      ...options,
      peftType,
      initAb: `${options.initAb.A},${options.initAb.B}`,
      trainAb: trainLetters(options),
    },
    startedAt,
  );
  const seed = options.seed ?? DEFAULT_SEED;
  await writeRunJson(runFolder, {
    startedAt,
    argv: record.argv,
    flags: record.flags,
    seeds: { adapter: seed, data_order: options.compat.has("seed") ? DEFAULT_SEED : seed },
    model: { folder: base.folder.path, sha256: await hashModelFiles(base.folder) },
    tokenizerHash: base.tokenizer?.hash,
    data: await hashFiles(Object.keys(data.files)),
    code: await readCodeVersion(),
    host: describeHost(runtimeVersion()),
  });
  await writeRunConfig(runFolder, record.flags);
  ui.line(`Run folder: ${runFolder}`);

  const result = await trainWithReports({
    base,
    adapter,
    store,
    data,
    options,
    record,
    runFolder,
    startedAt,
    ui,
    interrupt,
  });
  if (result.interrupted) {
    ui.line(`Stopped after ${String(result.steps)} of ${String(result.totalSteps)} steps`);
    return runFolder;
  }
  const { best } = result.evaluations;
  if (best && result.bestCheckpoint !== undefined)
    ui.line(
      `Loading best model from ${join(runFolder, result.bestCheckpoint)} (score: ${String(best.evalLoss)}).`,
    );

  const memUsedMiB = Math.round(currentMemoryBytes() / 2 ** 20);
  const rows =
    options.datasetFile === undefined
      ? await predictTest(base, adapter, store, options, ui, interrupt)
      : [];
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
    parameters,
    rows,
  });
  return runFolder;
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

const predictTest = async (
  base: BaseModel,
  adapter: Adapter,
  store: ParameterStore,
  options: TrainingRunOptions,
  ui: ProgressUi,
  interrupt: InterruptSignal,
) => {
  const dataset = findSingleDataset(options.dataset);
  if (!base.tokenizer) throw new RangeError("Cannot answer rows without a tokenizer");
  const predictor = await openPredictor(
    base,
    base.tokenizer,
    { adapter, values: store.values },
    [dataset],
    options,
  );
  try {
    return await predictSet(dataset, predictor, options, ui, interrupt.abort);
  } finally {
    predictor.dispose();
  }
};

interface ReportedTraining {
  readonly base: BaseModel;
  readonly adapter: Adapter;
  readonly store: ParameterStore;
  readonly data: Awaited<ReturnType<typeof loadTrainingData>>;
  readonly options: TrainingRunOptions;
  readonly record: RunRecord;
  readonly runFolder: string;
  readonly startedAt: Date;
  readonly ui: ProgressUi;
  readonly interrupt: InterruptSignal;
}

/** Trains with metrics.jsonl, TensorBoard and the terminal looking on. */
const trainWithReports = async (job: ReportedTraining): Promise<TrainingResult> => {
  const { base, adapter, store, data, options, record, runFolder, startedAt, ui, interrupt } = job;
  const plan = planTraining(options, data.train.length);
  const metrics = await openMetrics(join(runFolder, "metrics.jsonl"));
  const board = await openTensorBoard(runFolder, startedAt);
  await board.text(
    "args",
    `\`\`\`\n${JSON.stringify(record.originalFlags, undefined, 2)}\n\`\`\``,
    0,
    startedAt,
  );
  await board.text(
    "model_config",
    `\`\`\`\n${JSON.stringify(base.folder.rawConfig, undefined, 2)}\n\`\`\``,
    0,
    startedAt,
  );
  const progress = ui.training(plan.totalSteps, { logSteps: options.logSteps });
  const events: TrainingEvents = {
    async step(step, epoch, nextLearningRate) {
      await metrics.append(step);
      await board.log(
        { loss: step.loss, grad_norm: step.gradNorm, learning_rate: nextLearningRate, epoch },
        step.step,
        new Date(),
      );
      progress.step({
        step: step.step,
        loss: step.loss,
        learningRate: step.lr,
        gradNorm: step.gradNorm,
        tokensPerSecond: (1000 * step.tokens) / step.stepMs,
        memoryBytes: currentMemoryBytes(),
      });
    },
    async evaluation({ step, loss, best, seconds, rows, batches }, epoch) {
      await board.log(
        {
          eval_loss: loss,
          eval_runtime: seconds,
          eval_samples_per_second: rows / seconds,
          eval_steps_per_second: batches / seconds,
          epoch,
        },
        step,
        new Date(),
      );
      progress.evaluation({ step, loss, best });
    },
    async checkpoint() {
      await metrics.flush();
      await board.flush();
    },
  };
  try {
    const result = await trainAdapter({
      config: base.folder.config,
      weights: base.weights,
      adapter,
      store,
      data,
      settings: options,
      runFolder,
      writeWeights: (folder) => writeTrainedWeights(folder, base, adapter, store),
      readWeights: (folder) => readTrainedWeights(folder, base, adapter, store),
      events,
      interrupt,
    });
    const { trainSeconds, steps, meanLoss } = result;
    await board.log(
      {
        train_runtime: trainSeconds,
        train_samples_per_second: (steps * options.batch * options.gradAcc) / trainSeconds,
        train_steps_per_second: steps / trainSeconds,
        train_loss: meanLoss,
        epoch: steps / plan.stepsPerEpoch,
      },
      steps,
      new Date(),
    );
    return result;
  } finally {
    progress.done();
    await metrics.close();
    await board.close();
  }
};
