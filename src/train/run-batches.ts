import type { Compat } from "../core/compat.js";
import type { BatchLayout } from "../datasets/build-batch.js";
import type { Adapter } from "../peft/adapter.js";
import type { EvaluationOptions } from "./evaluate-loss.js";
import { planMicroBatches, type MicroBatches } from "./micro-batches.js";
import type { TrainingData } from "./loaded-data.js";
import { dataSeed, microBatchesOf, type TrainingSettings } from "./training-settings.js";

/** The batches of a run. Its flags and rows alone decide them, so that another program can be given the same ones. */
export interface RunBatches {
  readonly train: MicroBatches;
  /** The validation rows; undefined where nothing is evaluated. */
  readonly evaluation: EvaluationOptions | undefined;
}

/** Which batches a run trains and evaluates on, in which order. */
export const planRunBatches = (
  settings: TrainingSettings,
  data: TrainingData,
  adapter: Adapter,
): RunBatches => {
  const { compat, batch, shuffle, evalStrategy } = settings;
  const { padId, validation } = data;
  const seed = dataSeed(settings);
  const layout = layoutOf(data.layout, adapter, compat);
  const train = planMicroBatches({
    rows: data.train,
    batch,
    gradAcc: microBatchesOf(settings),
    layout,
    padId,
    orderOf: (epoch) =>
      shuffle ? { kind: "shuffled", seed, epoch, buckets: !compat.has("pad") } : { kind: "file" },
  });
  if (evalStrategy === "no" || validation === undefined) return { train, evaluation: undefined };
  return {
    train,
    evaluation: {
      rows: validation,
      batch: Math.max(1, Math.floor(batch / data.evaluationBatchDivisor)),
      layout,
      padId,
      mean: compat.has("loss-mean") ? "rows" : "tokens",
    },
  };
};

/**
 * Behind virtual tokens, positions count columns: rows start in column 0, so that no result depends on the rows beside
 * them. Under compat "pad" they stay where the authors' program has them.
 */
const layoutOf = (layout: BatchLayout, { virtual }: Adapter, compat: Compat): BatchLayout =>
  virtual && !compat.has("pad") ? { kind: "right-padded" } : layout;
