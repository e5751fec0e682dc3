import type { LossScaling } from "../distributed/loss-scaling.js";

/** Where the loss's scale stands between two updates. */
export interface LossScale {
  readonly scale: number;
  /** Overflows that are left until it is halved. */
  readonly hysteresis: number;
  /** Updates before the last overflow; -1: none so far. */
  readonly lastOverflow: number;
  /** Updates that were skipped: AdamW and the learning rate have not counted them. */
  readonly skipped: number;
}

/** The scale at a run's start. */
export const startingLossScale = ({
  lossScale,
  initialScalePower,
  hysteresis,
}: LossScaling): LossScale => ({
  scale: lossScale > 0 ? lossScale : 2 ** initialScalePower,
  hysteresis,
  lastOverflow: -1,
  skipped: 0,
});

/** What an overflow comes to. */
export interface SkippedStep {
  readonly next: LossScale;
  /** The line that tells it, as DeepSpeed does. */
  readonly message: string;
}

/**
 * The scale after an update whose gradients were not finite, which is skipped: halved, once `hysteresis` overflows have come. A fixed
 * one stays.
 *
 * @param step updates before this one
 * @returns undefined where the scale is at its least and should be smaller
 * Source: DynamicLossScaler.update_scale of DeepSpeed's runtime/fp16/loss_scaler.py.
 */
export const afterOverflow = (
  { lossScale, minLossScale }: LossScaling,
  { scale, hysteresis, skipped }: LossScale,
  step: number,
): SkippedStep | undefined => {
  const common = { lastOverflow: step, skipped: skipped + 1 };
  const attempted = `OVERFLOW! Step ${String(step + 1)}: Skipping step. Attempted loss scale: ${String(scale)}`;
  if (lossScale > 0)
    return { next: { ...common, scale, hysteresis }, message: `${attempted}, which is fixed` };
  if (hysteresis > 1)
    return {
      next: { ...common, scale, hysteresis: hysteresis - 1 },
      message: `${attempted}, but hysteresis is ${String(hysteresis)}. Reducing hysteresis to ${String(hysteresis - 1)}`,
    };
  if (scale <= minLossScale) return undefined;
  const next = Math.max(scale / 2, minLossScale);
  return {
    next: { ...common, scale: next, hysteresis },
    message: `${attempted}, reducing to ${String(next)}`,
  };
};

/**
 * The scale after an update that was made: doubled after so many without an overflow.
 *
 * @param step updates before this one
 */
export const afterGoodStep = (
  { lossScale, lossScaleWindow, hysteresis, consecutiveHysteresis }: LossScaling,
  state: LossScale,
  step: number,
): LossScale => {
  if (lossScale > 0) return state;
  const isDue = (step - state.lastOverflow) % lossScaleWindow === 0;
  return {
    ...state,
    scale: isDue ? 2 * state.scale : state.scale,
    hysteresis: isDue || consecutiveHysteresis ? hysteresis : state.hysteresis,
  };
};
