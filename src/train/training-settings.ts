import type { Compat } from "../core/compat.js";
import type { LossScaling } from "../distributed/loss-scaling.js";
import type { SchedulerSettings } from "../distributed/scheduler-settings.js";
import type { AskedZeroSettings } from "../distributed/zero-settings.js";
import type { AdamWOptions } from "./adamw.js";
import type { BestMetric } from "./class-figures.js";
import type { Optimizer } from "./optimizer.js";
import {
  countStepsPerEpoch,
  countTotalSteps,
  resolveEvalSteps,
  type EvaluationPlan,
  type Schedule,
} from "./schedule.js";

/** The numbers of a run; see cli/options.ts for what the flags mean. */
export interface TrainingSettings {
  readonly batch: number;
  readonly gradAcc: number;
  /** How many processes train together, each on `gradAcc` micro-batches of an update; default 1. */
  readonly processes?: number | undefined;
  readonly epoch: number;
  /** Updates, in place of `epoch`. */
  readonly maxSteps: number | undefined;
  readonly lr: number;
  readonly warmup: number;
  readonly weightDecay: number;
  readonly optimizer: Optimizer;
  /** Default: defaultAdamW. */
  readonly adam?: Partial<Omit<AdamWOptions, "weightDecay">> | undefined;
  /** How the learning rate goes; default: up and down in straight lines. */
  readonly scheduler?: SchedulerSettings | undefined;
  /** What a --ds_config says of sharing out and offloading; default: nothing of it. */
  readonly zero?: AskedZeroSettings | undefined;
  /** 0: no clipping. */
  readonly maxGradNorm: number;
  /** Of the model's hidden states, and 0 of its attention too; undefined: what its config says. */
  readonly modelDropout?: number | undefined;
  /** As given; undefined does not enter the run's name. */
  readonly seed: number | undefined;
  readonly shuffle: boolean;
  readonly enableGradCkpt: boolean;
  readonly evalStrategy: "no" | "steps" | "epoch";
  /** Below 1 a share of all updates, else a whole number of them. */
  readonly evalSteps: number;
  /** What chooses the best checkpoint, and stops early. Default: the loss. */
  readonly metricForBest?: BestMetric | undefined;
  /** 0: keep all. */
  readonly saveTotalLimit: number;
  /** 0: never stop early. */
  readonly earlyStopPatience: number;
  readonly compat: Compat;
  /** How the loss is scaled in fp16; default: as DeepSpeed's defaults have it. */
  readonly lossScaling?: LossScaling | undefined;
}

/** The seed of a run that names none; also the order's seed under compat "seed", as in the authors' program. */
export const DEFAULT_SEED = 42;

/** When a training evaluates and saves, and its counts, which follow from the rows and the settings. */
export interface TrainingPlan extends EvaluationPlan {
  readonly batchesPerEpoch: number;
  readonly warmupSteps: number;
}

/** Micro-batches of an update, in all processes together. */
export const microBatchesOf = ({
  gradAcc,
  processes = 1,
}: Pick<TrainingSettings, "gradAcc" | "processes">): number => gradAcc * processes;

/** How many updates a run has, and when it evaluates. */
export const planTraining = (settings: TrainingSettings, rows: number): TrainingPlan => {
  const { batch, epoch, maxSteps, evalStrategy, evalSteps, warmup } = settings;
  const perUpdate = microBatchesOf(settings);
  const batchesPerEpoch = Math.ceil(rows / batch);
  const totalSteps = maxSteps ?? countTotalSteps(epoch, batchesPerEpoch, perUpdate);
  return {
    batchesPerEpoch,
    totalSteps,
    warmupSteps: warmup,
    stepsPerEpoch: countStepsPerEpoch(batchesPerEpoch, perUpdate),
    strategy: evalStrategy,
    everySteps: evalStrategy === "steps" ? resolveEvalSteps(evalSteps, totalSteps) : 1,
  };
};

/** How the learning rate of a run goes. */
export const scheduleOf = (
  { lr, scheduler }: Pick<TrainingSettings, "lr" | "scheduler">,
  { warmupSteps, totalSteps }: Pick<TrainingPlan, "warmupSteps" | "totalSteps">,
): Schedule => ({ peak: lr, warmupSteps, totalSteps, scheduler });

/** The seed of data order and dropout; the authors' trainer always has its own. */
export const dataSeed = ({ compat, seed }: TrainingSettings): number =>
  compat.has("seed") ? DEFAULT_SEED : (seed ?? DEFAULT_SEED);
