/** How fp16 scales the loss: what the block `fp16` of a DeepSpeed configuration says, by its names there. */
export interface LossScaling {
  /** Above 0: the scale throughout. 0: found while training. */
  readonly lossScale: number;
  /** The first scale is 2 to this power. */
  readonly initialScalePower: number;
  /** Updates without an overflow after which the scale doubles. */
  readonly lossScaleWindow: number;
  /** Overflows until the scale is halved. */
  readonly hysteresis: number;
  /** Whether `hysteresis` counts overflows in a row alone. */
  readonly consecutiveHysteresis: boolean;
  readonly minLossScale: number;
}

/** DeepSpeed's defaults. Source: runtime/constants.py and runtime/precision_config.py of DeepSpeed. */
export const defaultLossScaling: LossScaling = {
  lossScale: 0,
  initialScalePower: 16,
  lossScaleWindow: 1000,
  hysteresis: 2,
  consecutiveHysteresis: false,
  minLossScale: 1,
};
