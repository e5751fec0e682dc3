import type { ComputeChoice } from "../runtime/compute-plan.js";
import type { Compat } from "../core/compat.js";

/** The flags that decide how a split is answered; see cli/options.ts. */
export interface PredictionSettings extends ComputeChoice {
  readonly batch: number;
  readonly beamSize: number | undefined;
  readonly maxNewTokens: number | undefined;
  readonly doSample: boolean;
  readonly decoding: "default" | "greedy";
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly seed: number | undefined;
  /** Only the first rows of the split. */
  readonly limit: number | undefined;
  readonly dataDir: string | undefined;
  readonly datasetRatio: number;
  /** Whether a row's input stands in its prompt. */
  readonly useInput: boolean;
  readonly numWorkers: number;
  readonly compat: Compat;
}
