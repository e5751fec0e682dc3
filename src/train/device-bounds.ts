import type { Precision } from "../core/precision.js";

/** How far the results of a device may be from those of the CPU in float32, before it is not believed. */
export interface DeviceBounds {
  /** Of the loss: |loss - l| / |l|, where l is the CPU's. */
  readonly loss: number;
  /** Of each parameter's gradient: |gradient - g| / |g| in the Euclidean norm; see GradientError. */
  readonly gradient: number;
  /** Of the log-probability of a likely token in decoding: |log p - log q|. */
  readonly logProb: number;
  /**
   * The smallest gradient whose own size counts, as a share of the root mean square over all elements of all gradients. What is smaller may be
   * nothing but rounding (the gradient of a key's bias is zero, since softmax sees differences alone), and is measured against this size.
   */
  readonly smallest: number;
}

/**
 * The bounds by precision: three to ten times what right devices have shown, and far below what a wrong kernel shows (docs/devices.md).
 */
export const deviceBounds: Readonly<Record<Precision, DeviceBounds>> = {
  fp32: { loss: 1e-4, gradient: 1e-3, logProb: 1e-3, smallest: 1e-3 },
  mixed: { loss: 1e-2, gradient: 0.1, logProb: 0.2, smallest: 0.03 },
  bf16: { loss: 1e-2, gradient: 0.15, logProb: 0.2, smallest: 0.03 },
  fp16: { loss: 2e-3, gradient: 0.05, logProb: 0.03, smallest: 0.03 },
};
