import type { Tensor } from "../runtime/tensor.js";
import { writeCheckpoint, type MomentsToWrite, type RunPosition } from "./checkpoint.js";
import { removeCheckpoints, rotateCheckpoints } from "./checkpoint-folder.js";
import type { ParameterStore } from "./parameters.js";
import { isEvaluationStep } from "./schedule.js";
import type { TrainingPlan, TrainingSettings } from "./training-settings.js";
import type { TrainingState } from "./training-state.js";

/** Where a run's checkpoints go, and what they hold beside its state. */
export interface CheckpointTarget {
  readonly runFolder: string;
  readonly settings: TrainingSettings;
  readonly plan: TrainingPlan;
  readonly store: ParameterStore;
  /** Writes the trained weights as they stand into a checkpoint's folder. */
  readonly writeWeights: (folder: string) => Promise<void>;
  readonly positionAt: (step: number) => RunPosition;
}

/**
 * Removes what interruptions have saved.
 *
 * @param keptStep is not touched, whatever the plan says
 * @throws {UserError} if a folder cannot be removed
 */
export const removeUnplannedCheckpoints = async (
  { runFolder, plan }: Pick<CheckpointTarget, "runFolder" | "plan">,
  keptStep?: number,
): Promise<void> => {
  await removeCheckpoints(runFolder, (step) => step !== keptStep && !isEvaluationStep(plan, step));
};

/**
 * What every other process does while process 0 saves: gives it the moments that it writes, and the values, of which each has a share.
 */
export const helpSaving = async (store: ParameterStore): Promise<void> => {
  const { shards } = store;
  if (!shards) return;
  await shards.holdValues(0);
  for (const { m, v } of momentsOf(store))
    for (const moment of [m, v]) if (typeof moment === "function") await moment();
  shards.forgetMoments();
};

/**
 * Saves a run's state, and removes the checkpoints whose time is over.
 *
 * What an interruption saves takes no other checkpoint's place, and goes with the next one that is planned.
 * @param at.isPlanned whether the run saves here also if nobody stops it; else nothing is removed
 * @throws {UserError} if something cannot be written or removed
 */
export const saveCheckpoint = async (
  target: CheckpointTarget,
  state: TrainingState,
  { trainSeconds, isPlanned }: { readonly trainSeconds: number; readonly isPlanned: boolean },
): Promise<void> => {
  const { runFolder, settings, plan, store, writeWeights, positionAt } = target;
  const { step, tokensSeen, evaluations, logHistory, lossScale } = state;
  await store.shards?.holdValues(0);
  await writeCheckpoint(runFolder, {
    state: {
      step,
      totalSteps: plan.totalSteps,
      epoch: step / plan.stepsPerEpoch,
      epochs: settings.epoch,
      batch: settings.batch,
      evalSteps: plan.everySteps,
      tokensSeen,
      trainSeconds,
      evaluations,
      bestMetric: settings.metricForBest,
      earlyStopPatience: settings.earlyStopPatience,
      logHistory,
      lossScale,
    },
    position: positionAt(step),
    moments: momentsOf(store),
    writeWeights,
  });
  store.shards?.releaseValues();
  store.shards?.forgetMoments();
  if (!isPlanned) return;
  await removeUnplannedCheckpoints(target, step);
  await rotateCheckpoints(runFolder, settings.saveTotalLimit, evaluations.best?.step);
};

function* momentsOf({
  device,
  m: means,
  v: squares,
  shards,
}: ParameterStore): Iterable<MomentsToWrite> {
  if (shards)
    for (const { name, shape } of shards.specs)
      yield { name, shape, m: () => shards.moment("m", name), v: () => shards.moment("v", name) };
  // Fetched one at a time: a device's are copied, and with full fine-tuning they are twice a model.
  const fetch = (tensor: Tensor) => (): Float32Array => device.read(tensor) as Float32Array;
  for (const [name, m] of means) {
    const v = squares.get(name);
    if (v) yield { name, shape: m.shape, m: fetch(m), v: fetch(v) };
  }
}
