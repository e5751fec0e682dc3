import type { Precision } from "../core/precision.js";

/** How far the results of a device may be from those of the CPU in float32, before it is not believed. */
export interface DeviceBounds {
  /** Of the loss: |loss - l| / |l|, where l is the CPU's. */
  readonly loss: number;
  /** Of each parameter's gradient: |gradient - g| / |g| in the Euclidean norm; see GradientError, and boundsOf for those that may be more. */
  readonly gradient: number;
  /**
   * Of the log-probabilities of likely tokens in decoding: the root mean square of log p - log q, as a share of the standard deviation of log p
   * over the vocabulary; see logProbBound for those that may be more.
   */
  readonly logProb: number;
  /**
   * The smallest gradient whose own size counts, as a share of the root mean square over all elements of all gradients. What is smaller may be
   * nothing but rounding (the gradient of a key's bias is zero, since softmax sees differences alone), and is measured against this size.
   */
  readonly smallest: number;
}

/** In which 16 bits products are computed; undefined: in none. */
export const halfOf: Readonly<Record<Precision, "bfloat16" | "float16" | undefined>> = {
  fp32: undefined,
  mixed: "bfloat16",
  bf16: "bfloat16",
  fp16: "float16",
};

/** A gradient may be so many times further away than rounding its products to 16 bits has moved the CPU's own. */
const roundingFactor = 8;
/** A gradient that has nothing to do with the right one is 1.4 times its size away. */
const mostOfAll = 1;

/**
 * How far a gradient may be away in 16 bits.
 *
 * Of trained models some gradients hang on single large activations, and rounding moves them by half their size, where it moves others by a
 * twentieth (SmolLM2-135M, layers.2.mlp.down_proj): so each has what the CPU has shown with rounded products.
 * @param rounding how far that has moved it
 */
export const gradientBound = (bounds: DeviceBounds, rounding: number): number =>
  Math.min(mostOfAll, Math.max(bounds.gradient, roundingFactor * rounding));

/** Log-probabilities may be so many times further away than rounding products to 16 bits has moved the CPU's own. */
const logProbFactor = 3;
/** Two neighbouring layers that have changed places move them by 0.3 of their spread, RoPE with a tenth of its base by 0.23. */
const mostOfSpread = 0.2;

/**
 * How far log-probabilities may be away in 16 bits.
 *
 * @param rounding how far rounded products have moved the CPU's own, where that was found
 */
export const logProbBound = (bounds: Pick<DeviceBounds, "logProb">, rounding = 0): number =>
  Math.max(bounds.logProb, Math.min(mostOfSpread, logProbFactor * rounding));

/**
 * The bounds by precision: three to ten times what right devices have shown, and far below what a wrong kernel shows (docs/devices.md).
 */
export const deviceBounds: Readonly<Record<Precision, DeviceBounds>> = {
  fp32: { loss: 1e-4, gradient: 1e-3, logProb: 1e-4, smallest: 1e-3 },
  mixed: { loss: 2e-2, gradient: 0.1, logProb: 0.08, smallest: 0.03 },
  bf16: { loss: 2e-2, gradient: 0.15, logProb: 0.12, smallest: 0.03 },
  fp16: { loss: 2e-3, gradient: 0.05, logProb: 0.01, smallest: 0.03 },
};
