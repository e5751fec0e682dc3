/** Number types of the arithmetic, as --precision names them. */
export const precisions = ["fp32", "bf16", "fp16"] as const;

/** A number type that --precision takes. */
export type Precision = (typeof precisions)[number];
