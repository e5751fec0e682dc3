import type { Adapter } from "../peft/adapter.js";
import type { Model } from "../models/model.js";
import type { EncodedRow } from "../datasets/encoded-rows.js";
import type { TrainingData } from "./loaded-data.js";
import { chunkCount, type LossSessionOptions } from "./loss-session.js";
import { taskOf } from "./tasks/registry.js";
import { mostLabels } from "./training-data.js";
import type { TrainingSettings } from "./training-settings.js";

/** What a training is of, as far as it decides its graphs. */
export interface TrainedGraph {
  readonly model: Model;
  readonly adapter: Adapter;
  readonly data: TrainingData;
  readonly settings: Pick<TrainingSettings, "batch" | "enableGradCkpt" | "modelDropout">;
}

/** The graph of updates: with gradients and dropout. */
export const trainingGraph = (job: TrainedGraph): LossSessionOptions => ({
  ...graphOf(job, { rows: job.data.train, batch: job.settings.batch }),
  gradients: true,
  recomputeLayers: job.settings.enableGradCkpt,
  drops: true,
});

/** The graph of evaluations on `rows`, so many at a time. */
export const evaluationGraph = (
  job: TrainedGraph,
  { rows, batch }: { readonly rows: readonly EncodedRow[]; readonly batch: number },
): LossSessionOptions => ({
  ...graphOf(job, { rows, batch }),
  labelLogits: job.data.labels !== undefined,
});

const graphOf = (
  { model, adapter, data, settings }: TrainedGraph,
  { rows, batch }: { readonly rows: readonly EncodedRow[]; readonly batch: number },
): LossSessionOptions => ({
  model,
  adapter,
  maxPositions: data.longest,
  maxRows: batch,
  chunks: chunkCount(mostLabels(rows, batch)),
  gradients: false,
  recomputeLayers: false,
  drops: false,
  modelDropout: settings.modelDropout,
  task: taskOf(model, data.padId),
});
