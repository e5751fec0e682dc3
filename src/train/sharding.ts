import type { ProcessGroup } from "../distributed/process-group.js";

/** How the state of a training is shared out among processes. */
export interface Sharding {
  /** ZeRO's: 1 moments, 2 gradients too, 3 values and frozen weights too. */
  readonly stage: 1 | 2 | 3;
  readonly group: ProcessGroup;
  /** Whether messages go around while layers are computed. */
  readonly overlaps: boolean;
  /** Stage 3: frozen weights of fewer elements every process has whole. */
  readonly persistenceThreshold: number;
}
