import { userErrorOfFaults } from "../core/errors.js";
import type { JsonObject } from "../core/json-file.js";
import { quoteJson, readJsonObject } from "../core/json-file.js";
import { isJsonObject } from "../core/json.js";
import type { BestMetric } from "./class-figures.js";
import type { EvaluationRecord } from "./early-stop.js";
import type { LossScale } from "./loss-scaler.js";

/** One entry of log_history: `step`, `epoch` and what was measured then, under transformers' names. */
export type LogEntry = Readonly<Record<string, number | null>>;

/** Where a run stands, as trainer_state.json tells it. */
export interface TrainerState {
  /** Updates done. */
  readonly step: number;
  readonly totalSteps: number;
  /** Epochs done, with the fraction of the one under way. */
  readonly epoch: number;
  /** --epoch. */
  readonly epochs: number;
  /** Rows of one micro-batch. */
  readonly batch: number;
  /** Updates between evaluations. */
  readonly evalSteps: number;
  /** Real tokens trained on so far. */
  readonly tokensSeen: number;
  /** Time that training has taken so far, in all processes of the run together. */
  readonly trainSeconds: number;
  readonly evaluations: EvaluationRecord;
  /** What chooses the best checkpoint, by which best.json names it; not in trainer_state.json. Default: the loss. */
  readonly bestMetric?: BestMetric | undefined;
  /** 0 = off. */
  readonly earlyStopPatience: number;
  readonly logHistory: readonly LogEntry[];
  /** In fp16: how the next update scales the loss. */
  readonly lossScale?: LossScale | undefined;
}

/** The folder of the checkpoint after update `step`, as transformers names it. */
export const checkpointName = (step: number): string => `checkpoint-${String(step)}`;

/** The step in `checkpoint-<step>`, the last part of `path`; undefined if it has another form. */
export const checkpointStep = (path: string): number | undefined => {
  const digits = /(?:^|[/\\])checkpoint-(\d+)[/\\]*$/.exec(path)?.[1];
  return digits === undefined ? undefined : Number(digits);
};

/**
 * The text of trainer_state.json, under the names that transformers 4.41 gives it; `train_seconds` and `loss_scale` are ours.
 *
 * The best checkpoint is named relative to the run folder, so that a moved folder keeps its meaning.
 */
export const trainerStateJson = (state: TrainerState): string => {
  const { best, withoutGain } = state.evaluations;
  const { lossScale } = state;
  const json = {
    best_metric: best?.metric ?? null,
    best_model_checkpoint: best === undefined ? null : checkpointName(best.step),
    epoch: state.epoch,
    eval_steps: state.evalSteps,
    global_step: state.step,
    is_hyper_param_search: false,
    is_local_process_zero: true,
    is_world_process_zero: true,
    log_history: state.logHistory,
    logging_steps: 1,
    ...(lossScale && {
      loss_scale: {
        scale: lossScale.scale,
        hysteresis: lossScale.hysteresis,
        last_overflow: lossScale.lastOverflow,
        skipped_steps: lossScale.skipped,
      },
    }),
    max_steps: state.totalSteps,
    num_input_tokens_seen: state.tokensSeen,
    num_train_epochs: state.epochs,
    save_steps: state.evalSteps,
    stateful_callbacks: {
      EarlyStoppingCallback: {
        args: { early_stopping_patience: state.earlyStopPatience, early_stopping_threshold: 0 },
        attributes: { early_stopping_patience_counter: withoutGain },
      },
    },
    train_batch_size: state.batch,
    train_seconds: state.trainSeconds,
  };
  return `${JSON.stringify(json, undefined, 2)}\n`;
};

/** The best checkpoint that a trainer_state.json names, whoever wrote the file. */
export interface BestCheckpoint {
  readonly step: number;
  /** Its loss, or what --metric_for_best has named. */
  readonly metric: number;
}

const bestOf = (json: JsonObject, faults: string[]): BestCheckpoint | undefined => {
  const { best_model_checkpoint: path, best_metric: metric } = json;
  if (path === null || path === undefined) return undefined;
  // Only the folder's name counts: the path is where the run was, not where its folder is now.
  const step = typeof path === "string" ? checkpointStep(path) : undefined;
  if (step === undefined)
    faults.push(
      `found ${quoteJson(path)} in best_model_checkpoint, expected a path that ends in checkpoint-<step>`,
    );
  if (typeof metric !== "number")
    faults.push(`found ${quoteJson(metric)} in best_metric, expected a number`);
  return step === undefined || typeof metric !== "number" ? undefined : { step, metric };
};

/**
 * The best checkpoint that `path`, a trainer_state.json, names; undefined where none was known yet.
 *
 * @throws {UserError} if the file cannot be read or names it wrongly
 */
export const readBestCheckpoint = async (path: string): Promise<BestCheckpoint | undefined> => {
  const faults: string[] = [];
  const best = bestOf(await readJsonObject(path), faults);
  if (faults.length > 0) throw userErrorOfFaults(`Cannot read ${path}`, faults);
  return best;
};

const isLogEntry = (value: unknown): value is LogEntry =>
  isJsonObject(value) &&
  Object.values(value).every((entry) => entry === null || typeof entry === "number");

/**
 * Reads a trainer_state.json that hira has written.
 *
 * @throws {UserError} listing every field that is missing or wrong
 */
export const readTrainerState = async (path: string): Promise<TrainerState> => {
  const json = await readJsonObject(path);
  const faults: string[] = [];
  const number = (from: unknown, key: string, least = 0): number => {
    const value = isJsonObject(from) ? from[key] : undefined;
    if (typeof value === "number" && value >= least) return value;
    faults.push(
      `found ${quoteJson(value)} in ${key}, expected a number of at least ${String(least)}`,
    );
    return 0;
  };
  const callbacks = isJsonObject(json.stateful_callbacks) ? json.stateful_callbacks : {};
  const stopping = isJsonObject(callbacks.EarlyStoppingCallback)
    ? callbacks.EarlyStoppingCallback
    : {};
  const { log_history: logHistory } = json;
  const isHistory = Array.isArray(logHistory) && logHistory.every(isLogEntry);
  if (!isHistory) faults.push("found no list of objects with numbers in log_history");
  const state: TrainerState = {
    step: number(json, "global_step"),
    totalSteps: number(json, "max_steps"),
    epoch: number(json, "epoch"),
    epochs: number(json, "num_train_epochs"),
    batch: number(json, "train_batch_size"),
    evalSteps: number(json, "eval_steps"),
    tokensSeen: number(json, "num_input_tokens_seen"),
    // Not in the files of the first versions.
    trainSeconds: "train_seconds" in json ? number(json, "train_seconds") : 0,
    evaluations: {
      best: bestOf(json, faults),
      withoutGain: number(stopping.attributes, "early_stopping_patience_counter"),
    },
    earlyStopPatience: number(stopping.args, "early_stopping_patience"),
    logHistory: isHistory ? logHistory : [],
    ...("loss_scale" in json && {
      lossScale: {
        scale: number(json.loss_scale, "scale"),
        hysteresis: number(json.loss_scale, "hysteresis"),
        lastOverflow: number(json.loss_scale, "last_overflow", -1),
        skipped: number(json.loss_scale, "skipped_steps"),
      },
    }),
  };
  if (faults.length > 0)
    throw userErrorOfFaults(
      `Cannot read ${path}`,
      faults,
      "The file was changed, or another program has written it",
    );
  return state;
};
