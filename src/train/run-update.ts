import { UserError } from "../core/errors.js";
import { listRows } from "../core/row-names.js";
import type { LossScaling } from "../distributed/loss-scaling.js";
import type { ProcessGroup } from "../distributed/process-group.js";
import type { StepMetrics } from "../report/metrics.js";
import { peakMemoryBytes } from "../runtime/memory.js";
import { clipFactor, type AdamW } from "./adamw.js";
import type { LossSession } from "./loss-session.js";
import type { MicroBatches } from "./micro-batches.js";
import { clearGradients, settleGradients, type ParameterStore } from "./parameters.js";
import { afterGoodStep, afterOverflow, type LossScale } from "./loss-scaler.js";
import { learningRate, type Schedule } from "./schedule.js";
import type { Sparsifier } from "./sparsity.js";
import { checkpointName } from "./trainer-state.js";
import { dataSeed, type TrainingSettings } from "./training-settings.js";
import type { TrainingState } from "./training-state.js";

/** What makes an update: sessions and data of a run. */
export interface Updater {
  readonly settings: TrainingSettings;
  readonly schedule: Schedule;
  readonly batches: MicroBatches;
  readonly store: ParameterStore;
  /** With gradients. */
  readonly session: LossSession;
  readonly optimizer: AdamW;
  readonly sparsifier: Sparsifier | undefined;
  /** In fp16: how the loss is scaled. */
  readonly lossScaling: LossScaling | undefined;
  /** The processes that share the micro-batches. */
  readonly group: ProcessGroup;
}

/** What an update has come to. */
export interface Updated {
  readonly metrics: StepMetrics;
  /** In fp16: the scale that the next one has. */
  readonly lossScale: LossScale | undefined;
  /** Why it was skipped, if it was. */
  readonly skipped: string | undefined;
}

/**
 * One update: gradients of its micro-batches added up, clipped, and given to AdamW.
 *
 * The update's micro-batches are shared out among the processes; every one of them knows all, so that each can divide by the labels
 * of all, and their sums of gradients need no more than to be added up.
 * In fp16 loss and gradients are computed times the scale; where they are not finite, the scale shrinks and nothing is
 * given to AdamW. All processes see the same sums, and so decide alike.
 * `signal` aborts it while the weights are what they were.
 * @throws {UserError} on a loss or gradient that is not finite, naming the step and its rows; in fp16 where the scale cannot shrink
 */
export const runUpdate = async (
  updater: Updater,
  { step, savedStep, lossScale }: Pick<TrainingState, "step" | "savedStep" | "lossScale">,
  signal?: AbortSignal,
): Promise<Updated> => {
  const { settings, schedule, batches, store, session, optimizer } = updater;
  const { sparsifier, lossScaling, group } = updater;
  const scale = lossScale?.scale ?? 1;
  const started = performance.now();
  const micro = batches.ofStep(step);
  const labelled = micro.reduce((sum, { labelledTokens }) => sum + labelledTokens, 0);
  clearGradients(store);
  const own = micro.flatMap((batch, microBatch) => {
    if (microBatch % group.size !== group.rank) return [];
    const count = settings.compat.has("loss-mean") ? batch.labelledTokens * micro.length : labelled;
    const draw = { seed: dataSeed(settings), step, microBatch };
    return [{ batch, lossScale: scale / Math.max(1, count), draw }];
  });
  const rounds = Math.ceil(micro.length / group.size);
  const readLoss = await session.accumulate(own, signal, rounds);
  await sumGradients(group, store);
  sparsifier?.prepareGradients(scale);
  const gradNorm = (await optimizer.gradientNorm(store.shards)) / scale;
  // Only now: on a device, reading the norm has waited for everything.
  const loss = Float64Array.of(readLoss() / scale);
  if (group.size > 1) await group.sum(loss);
  const [sum = NaN] = loss;
  const isFinite = Number.isFinite(sum) && Number.isFinite(gradNorm);
  const overflow =
    !isFinite && lossScaling && lossScale ? afterOverflow(lossScaling, lossScale, step) : undefined;
  if (!isFinite && !overflow)
    throw notFinite({
      step: step + 1,
      loss: sum,
      gradNorm,
      rows: micro.flatMap(({ rows }) => rows),
      savedStep,
      lossScale: lossScale?.scale,
    });
  // AdamW and the schedule count the updates that were made.
  const made = step - (lossScale?.skipped ?? 0);
  const lr = learningRate(schedule, made);
  if (!overflow) {
    const clip = clipFactor(gradNorm, settings.maxGradNorm);
    await optimizer.update(made + 1, lr, clip / scale);
    await store.shards?.gatherValues();
  }
  sparsifier?.afterUpdate(step + 1);
  const metrics = {
    step: step + 1,
    loss: sum,
    gradNorm,
    lr,
    tokens: micro.reduce((sum, { tokens }) => sum + tokens, 0),
    paddedTokens: micro.reduce((sum, { batch, seq }) => sum + batch * seq, 0),
    stepMs: performance.now() - started,
    peakMemoryBytes: peakMemoryBytes(),
    ...(sparsifier && { sparsity: sparsifier.achieved }),
    ...(lossScale && { lossScale: scale, skipped: overflow !== undefined }),
  };
  const after = lossScaling && lossScale && afterGoodStep(lossScaling, lossScale, step);
  return { metrics, lossScale: overflow?.next ?? after, skipped: overflow?.message };
};

/** Adds up what the processes have found: the gradients in the flat buffers of the store, or each process's share of them. */
const sumGradients = async (group: ProcessGroup, store: ParameterStore): Promise<void> => {
  if (store.shards) return store.shards.reduceGradients();
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
  lossScale,
}: {
  readonly step: number;
  readonly loss: number;
  readonly gradNorm: number;
  readonly rows: readonly number[];
  readonly savedStep: number | undefined;
  /** In fp16. */
  readonly lossScale: number | undefined;
}): UserError => {
  const saved =
    savedStep === undefined
      ? "Nothing was saved yet"
      : `The last good checkpoint is ${checkpointName(savedStep)}`;
  const remedy =
    lossScale === undefined
      ? "Lower --lr or raise --warmup"
      : `The loss scale is at its least, ${String(lossScale)}: choose another --precision, lower --lr or raise --warmup`;
  return new UserError(
    `Cannot go on training at step ${String(step)}: found loss ${String(loss)} and gradient norm ${String(gradNorm)} on ${listRows([...rows].sort((a, b) => a - b))}, expected finite numbers`,
    `${saved}. ${remedy}, and look at those rows`,
  );
};
