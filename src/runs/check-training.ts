import { findSingleDataset } from "../datasets/registry.js";
import type { ProgressUi } from "../report/progress.js";
import type { DeviceFacts } from "../report/run-json.js";
import type { Planned } from "../runtime/compute-plan.js";
import {
  describeCheck,
  isReference,
  openChecked,
  requireAgreement,
} from "../train/device-check.js";
import { largestError } from "../train/gradient-errors.js";
import type { LossSession } from "../train/loss-session.js";
import { valuesOnHost } from "../train/parameters.js";
import { planRunBatches } from "../train/run-batches.js";
import { trainingGraph } from "../train/training-session.js";
import { DEFAULT_SEED } from "../train/training-settings.js";
import { deviceChecks } from "./device-checks.js";
import { openPredictor } from "./predict.js";
import type { NamedOptions, PreparedRun } from "./prepare-run.js";

/** What a check before a training leaves: its session, where one was made, and what the run's record says of its device. */
export interface CheckedTraining {
  /** The training's, whose owner disposes of it. */
  readonly session: LossSession | undefined;
  readonly device: DeviceFacts;
}

/**
 * Compares the run's device with the CPU before the run has a folder: loss and every gradient of a small part of its first batch, and
 * where rows are answered at the end, the likelihoods of decoding, so that hours of training do not end at what could be told before.
 *
 * On the CPU in float32, and with --skip_device_check, nothing is computed.
 * @throws {UserError} where they differ, naming the first gradient that does
 */
export const checkBeforeTraining = async (
  { base, adapter, store, data, questions }: PreparedRun,
  options: NamedOptions & Planned,
  ui: ProgressUi,
): Promise<CheckedTraining> => {
  const { plan } = options;
  const { name, description } = plan.device;
  const facts = { name, description, precision: plan.precision };
  const tellCheck = deviceChecks(options, ui);
  if (!tellCheck)
    return {
      session: undefined,
      device: { ...facts, check: isReference(plan) ? null : "skipped" },
    };
  if (questions && base.tokenizer) {
    const { tokenizer } = base;
    const sets = [findSingleDataset(options.dataset)];
    const adapted = { adapter, values: valuesOnHost(store) };
    const predictor = await openPredictor(base, tokenizer, adapted, sets, {
      ...options,
      tellCheck,
    });
    predictor.dispose();
  }
  const { model } = base.folder;
  const [batch] = planRunBatches(options, data, adapter).train.ofStep(0);
  const { session, found } = await openChecked({
    options: trainingGraph({ model, adapter, data, settings: options }),
    weights: base.weights,
    ...{ store, plan, batch },
    seed: options.seed ?? DEFAULT_SEED,
  });
  try {
    requireAgreement(found, plan);
  } catch (error) {
    session.dispose();
    throw error;
  }
  tellCheck(describeCheck(found));
  const largest = largestError(found.gradients);
  return {
    session,
    device: {
      ...facts,
      check: {
        loss: found.loss.device,
        cpu_loss: found.loss.cpu,
        largest_gradient_error: largest?.error ?? null,
        largest_gradient_error_of: largest?.name ?? null,
        gradient_bound: largest?.bound ?? null,
        seconds: Number(found.seconds.toFixed(2)),
      },
    },
  };
};
