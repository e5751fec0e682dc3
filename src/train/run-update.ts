import { UserError } from "../core/errors.js";
import { listRows } from "../core/row-names.js";
import type { ProcessGroup } from "../distributed/process-group.js";
import type { StepMetrics } from "../report/metrics.js";
import { peakMemoryBytes } from "../runtime/memory.js";
import { clipFactor, type AdamW } from "./adamw.js";
import type { LossSession } from "./loss-session.js";
import type { MicroBatches } from "./micro-batches.js";
import { clearGradients, settleGradients, type ParameterStore } from "./parameters.js";
import { learningRate, type LinearSchedule } from "./schedule.js";
import type { Sparsifier } from "./sparsity.js";
import { checkpointName } from "./trainer-state.js";
import { dataSeed, type TrainingSettings } from "./training-settings.js";
import type { TrainingState } from "./training-state.js";

/** What makes an update: sessions and data of a run. */
export interface Updater {
  readonly settings: TrainingSettings;
  readonly schedule: LinearSchedule;
  readonly batches: MicroBatches;
  readonly store: ParameterStore;
  /** With gradients. */
  readonly session: LossSession;
  readonly optimizer: AdamW;
  readonly sparsifier: Sparsifier | undefined;
  /** The processes that share the micro-batches. */
  readonly group: ProcessGroup;
}

/**
 * One update: gradients of its micro-batches added up, clipped, and given to AdamW.
 *
 * The update's micro-batches are shared out among the processes; every one of them knows all, so that each can divide by the labels
 * of all, and their sums of gradients need no more than to be added up.
 * Resolves to its metrics; `signal` aborts it while the weights are what they were.
 * @throws {UserError} on a loss or gradient that is not finite, naming the step and its rows
 */
export const runUpdate = async (
  { settings, schedule, batches, store, session, optimizer, sparsifier, group }: Updater,
  { step, savedStep }: Pick<TrainingState, "step" | "savedStep">,
  signal?: AbortSignal,
): Promise<StepMetrics> => {
  const started = performance.now();
  const micro = batches.ofStep(step);
  const labelled = micro.reduce((sum, { labelledTokens }) => sum + labelledTokens, 0);
  clearGradients(store);
  const own = micro.flatMap((batch, microBatch) => {
    if (microBatch % group.size !== group.rank) return [];
    const count = settings.compat.has("loss-mean") ? batch.labelledTokens * micro.length : labelled;
    const draw = { seed: dataSeed(settings), step, microBatch };
    return [{ batch, lossScale: 1 / Math.max(1, count), draw }];
  });
  const readLoss = await session.accumulate(own, signal);
  await sumGradients(group, store);
  sparsifier?.prepareGradients();
  const gradNorm = await optimizer.gradientNorm();
  // Only now: on a device, reading the norm has waited for everything.
  const loss = Float64Array.of(readLoss());
  if (group.size > 1) await group.sum(loss);
  const [sum = NaN] = loss;
  if (!Number.isFinite(sum) || !Number.isFinite(gradNorm))
    throw notFinite({
      step: step + 1,
      loss: sum,
      gradNorm,
      rows: micro.flatMap(({ rows }) => rows),
      savedStep,
    });
  const lr = learningRate(schedule, step);
  await optimizer.update(step + 1, lr, clipFactor(gradNorm, settings.maxGradNorm));
  sparsifier?.afterUpdate(step + 1);
  return {
    step: step + 1,
    loss: sum,
    gradNorm,
    lr,
    tokens: micro.reduce((sum, { tokens }) => sum + tokens, 0),
    paddedTokens: micro.reduce((sum, { batch, seq }) => sum + batch * seq, 0),
    stepMs: performance.now() - started,
    peakMemoryBytes: peakMemoryBytes(),
    ...(sparsifier && { sparsity: sparsifier.achieved }),
  };
};

/** Adds up what the processes have found: the gradients in the flat buffers of the store. */
const sumGradients = async (group: ProcessGroup, store: ParameterStore): Promise<void> => {
  if (group.size === 1) return;
  const { groups, device } = store;
  settleGradients(store);
  for (const { gradients } of groups) {
    const flat = device.read(gradients) as Float32Array;
    await group.sum(flat);
    if (device.place !== "host") device.write(gradients, flat);
  }
};

const notFinite = ({
  step,
  loss,
  gradNorm,
  rows,
  savedStep,
}: {
  readonly step: number;
  readonly loss: number;
  readonly gradNorm: number;
  readonly rows: readonly number[];
  readonly savedStep: number | undefined;
}): UserError =>
  new UserError(
    `Cannot go on training at step ${String(step)}: found loss ${String(loss)} and gradient norm ${String(gradNorm)} on ${listRows([...rows].sort((a, b) => a - b))}, expected finite numbers`,
    savedStep === undefined
      ? "Nothing was saved yet. Lower --lr or raise --warmup, and look at those rows"
      : `The last good checkpoint is ${checkpointName(savedStep)}. Lower --lr or raise --warmup, and look at those rows`,
  );
