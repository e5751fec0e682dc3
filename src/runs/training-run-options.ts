import type { AdapterSettings } from "../peft/build-adapter.js";
import type { OutputFile } from "../report/output-jsonl.js";
import type { RunFacts } from "../report/run-json.js";
import type { BaseStorage } from "../train/load-base.js";
import type { DataSettings } from "../train/loaded-data.js";
import type { TrainingSettings } from "../train/training-settings.js";
import type { PredictionSettings } from "./prediction-settings.js";
import type { GivenFlags } from "./recorded-flags.js";

/** All that a training run is asked for; cli/train-options.ts makes it from the flags. */
export interface TrainingRunOptions
  extends TrainingSettings, DataSettings, PredictionSettings, AdapterSettings, BaseStorage {
  readonly peftType: string | undefined;
  /** Undefined where nobody has named one. */
  readonly modelName: string | undefined;
  /** Where the model of this name is; undefined: at its name. */
  readonly modelFolder?: string | undefined;
  readonly adapterInit: string | undefined;
  /** A trained adapter to go on with: a run's folder, a checkpoint, a peft adapter, or one on the Hub. */
  readonly adapter?: string | undefined;
  /** Which of its run's checkpoints, see pickCheckpoint. */
  readonly loadOrder?: number;
  /** The flags that somebody wrote. */
  readonly givenFlags?: GivenFlags;
  readonly outputFolder: string;
  /** A run's folder, one of its checkpoints, or "true" or "latest" for the newest run of this name that was stopped. */
  readonly resumeFromCheckpoint: string | undefined;
  readonly expName: string;
  readonly logSteps: number;
  readonly logFormat: "plain" | "hf";
  /** Of the weight files of full fine-tuning, at most. */
  readonly maxShardBytes: number;
  readonly deepSpeed?: { readonly totalSteps?: number | undefined } | undefined;
  /** A run whose updates are measured: nothing is saved or answered. */
  readonly measuresOnly?: boolean;
  readonly seed: number | undefined;
  readonly maxNewTokens: number | undefined;
  readonly compat: TrainingSettings["compat"];
}

/** How the run was asked for, for its records. */
export interface RunRecord {
  /** The arguments after `hira`. */
  readonly argv: readonly string[];
  /** Every flag with its effective value. */
  readonly flags: RunFacts["flags"];
  /** Every flag with its default. */
  readonly defaults: RunFacts["flags"];
  /** Line 1 of output.jsonl. */
  readonly originalFlags: OutputFile["flags"];
}
