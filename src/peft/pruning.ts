/** What decides which elements go. */
export const pruningMethods = ["magnitude", "topk", "l1"] as const;
/** When they go. */
export const pruningSchedules = ["oneshot", "gradual"] as const;

/** How a method's matrices are pruned in training; see train/sparsity.ts. */
export interface Pruning {
  /** The share of each matrix's elements that is zero in the end, in [0, 1). */
  readonly sparsity: number;
  /**
   * The smallest elements of a matrix go (magnitude), the smallest of each of its rows (topk), or the smallest of a matrix
   * under a penalty of `l1Weight` times the sum of all magnitudes (l1).
   */
  readonly method: (typeof pruningMethods)[number];
  /** All at `startStep`, or ever more from there to `endStep`. */
  readonly schedule: (typeof pruningSchedules)[number];
  /** Updates; undefined for a fifth and four fifths of the run. */
  readonly startStep: number | undefined;
  readonly endStep: number | undefined;
  readonly l1Weight: number;
}
