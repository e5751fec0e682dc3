import type { SchedulerSettings } from "../distributed/scheduler-settings.js";
import { UserError } from "../core/errors.js";

/** How the learning rate of a run goes. */
export interface Schedule {
  /** --lr. */
  readonly peak: number;
  /** --warmup, in updates. */
  readonly warmupSteps: number;
  readonly totalSteps: number;
  /** What a --ds_config asks for; default: transformers' get_linear_schedule_with_warmup. */
  readonly scheduler?: SchedulerSettings | undefined;
}

/**
 * The rate of the update that follows `updatesDone` updates: from 0 up to the peak, then linearly down to 0.
 *
 * peak * n / warmup for n < warmup, else peak * max(0, total - n) / max(1, total - warmup). So the first update of a
 * run with warmup has rate 0, and the rate after the last update is 0.
 * Where a --ds_config has a scheduler, its own: see scheduledRate.
 */
export const learningRate = (schedule: Schedule, updatesDone: number): number => {
  const { peak, warmupSteps, totalSteps, scheduler } = schedule;
  if (scheduler) return scheduledRate(schedule, scheduler, updatesDone);
  const factor =
    updatesDone < warmupSteps
      ? updatesDone / Math.max(1, warmupSteps)
      : Math.max(0, (totalSteps - updatesDone) / Math.max(1, totalSteps - warmupSteps));
  return peak * factor;
};

/**
 * The rate of DeepSpeed's schedulers. They count one update less, since they are asked for the first time after the first
 * update: with n = updatesDone - 1 and w = max(2, warmup),
 *
 * up, for n < w: start + (peak - start) * (ln(n + 1) / ln w, or n / w), and start for n < 0;
 * WarmupLR then stays at peak; WarmupDecayLR is start + (peak - start) * max(0, total - n) / max(1, total - w);
 * WarmupCosineLR is peak * (end + (1 - end) * (1 + cos(pi * min(1, (n - w + 1) / max(1, total - w)))) / 2), its start and end
 * are shares of the peak, and its first update has rate 0.
 * Source: runtime/lr_schedules.py of DeepSpeed 0.19.
 */
const scheduledRate = (
  { peak, warmupSteps, totalSteps }: Schedule,
  { type, warmupType, start, end }: SchedulerSettings,
  updatesDone: number,
): number => {
  const n = updatesDone - 1;
  const isCosine = type === "WarmupCosineLR";
  if (n < 0) return isCosine ? 0 : start;
  const warmup = Math.max(2, warmupSteps);
  const decaySteps = Math.max(1, totalSteps - warmup);
  const between = (low: number, high: number, share: number): number => low + (high - low) * share;
  const first = isCosine ? peak * start : start;
  if (n < warmup)
    return between(
      first,
      peak,
      warmupType === "log" ? Math.log(n + 1) / Math.log(warmup) : n / warmup,
    );
  if (type === "WarmupLR") return peak;
  if (type === "WarmupDecayLR")
    return between(first, peak, Math.max(0, (totalSteps - n) / decaySteps));
  const progress = Math.min(1, (n - warmup + 1) / decaySteps);
  return between(peak * end, peak, (1 + Math.cos(Math.PI * progress)) / 2);
};

/** Updates of one epoch: max(1, floor(batches / gradAcc)), `batches` counting a last short one. */
export const countStepsPerEpoch = (batches: number, gradAcc: number): number =>
  Math.max(1, Math.floor(batches / gradAcc));

/**
 * Updates of a run: ceil(epochs * updates of one epoch); `epochs` may be a fraction.
 *
 * Source: _inner_training_loop of transformers 4.41's trainer.
 * @throws {UserError} if they are more than a whole number can count
 */
export const countTotalSteps = (epochs: number, batches: number, gradAcc: number): number => {
  const steps = Math.ceil(epochs * countStepsPerEpoch(batches, gradAcc));
  if (Number.isSafeInteger(steps)) return steps;
  throw new UserError(
    `Cannot train for --epoch=${String(epochs)}: found ${String(steps)} updates, expected at most ${String(Number.MAX_SAFE_INTEGER)}`,
  );
};

/** When a run evaluates: never, every --eval_steps updates, or after each epoch. */
export type EvalStrategy = "no" | "steps" | "epoch";

/**
 * --eval_steps as a whole number of updates: below 1 it is a share of all updates, rounded up.
 *
 * @throws {UserError} if it is not positive, or above 1 and not whole
 */
export const resolveEvalSteps = (evalSteps: number, totalSteps: number): number => {
  if (!(evalSteps > 0) || !Number.isFinite(evalSteps) || (evalSteps > 1 && evalSteps % 1 !== 0))
    throw new UserError(
      `Cannot plan the evaluations: found --eval_steps=${String(evalSteps)}, expected a share of the run between 0 and 1, or a whole number of steps`,
    );
  return evalSteps < 1 ? Math.ceil(totalSteps * evalSteps) : evalSteps;
};

/** When a run evaluates, and saves. */
export interface EvaluationPlan {
  readonly strategy: EvalStrategy;
  /** From {@link resolveEvalSteps}; counts for "steps" only. */
  readonly everySteps: number;
  readonly stepsPerEpoch: number;
  readonly totalSteps: number;
}

/** How many evaluations a run has in its first `steps` updates; by default in all of them. */
export const countEvaluations = (plan: EvaluationPlan, steps = plan.totalSteps): number => {
  if (plan.strategy === "no" || steps === 0) return 0;
  if (plan.strategy === "steps") return Math.floor(steps / plan.everySteps);
  const ofLastPart = steps === plan.totalSteps && steps % plan.stepsPerEpoch !== 0 ? 1 : 0;
  return Math.floor(steps / plan.stepsPerEpoch) + ofLastPart;
};

/**
 * Whether the loss is evaluated, and a checkpoint saved, after update `step` (from 1; never before the first one).
 *
 * As in the original: with "steps" at multiples alone, so what follows the last multiple is never saved; with "epoch"
 * at the end of each epoch, and of the run where its last epoch is a fraction.
 * Source: DefaultFlowCallback of transformers 4.41.1.
 */
export const isEvaluationStep = (plan: EvaluationPlan, step: number): boolean => {
  if (step === 0) return false;
  switch (plan.strategy) {
    case "no":
      return false;
    case "steps":
      return step % plan.everySteps === 0;
    case "epoch":
      return step % plan.stepsPerEpoch === 0 || step === plan.totalSteps;
  }
};
