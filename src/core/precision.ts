/**
 * Number types of the arithmetic, as --precision names them. "mixed": matrix products in bfloat16, all else in float32.
 * In each of them parameters, gradients and moments are float32.
 */
export const precisions = ["fp32", "bf16", "fp16", "mixed"] as const;

/** A number type that --precision takes. */
export type Precision = (typeof precisions)[number];
