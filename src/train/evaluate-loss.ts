import { buildBatch, type Batch, type BatchLayout } from "../datasets/build-batch.js";
import type { EncodedRow } from "../datasets/encoded-rows.js";
import { planBatches } from "../datasets/plan-batches.js";
import { likeliestClass, type Classified } from "./class-figures.js";
import type { LossSession } from "./loss-session.js";

/** The rows that a loss is computed of, how they are batched, and what is averaged. */
export interface EvaluationOptions {
  readonly rows: readonly EncodedRow[];
  readonly batch: number;
  readonly layout: BatchLayout;
  readonly padId: number;
  /**
   * "tokens": the mean over all labelled tokens. "rows": each batch's mean, weighted by its rows, in the file's order, as
   * transformers' trainer has it: that value depends on the batch size.
   */
  readonly mean: "tokens" | "rows";
}

/** The batches in which the validation rows are seen. */
export function* evaluationBatches({
  rows,
  batch,
  layout,
  padId,
  mean,
}: EvaluationOptions): Iterable<Batch> {
  const plan = planBatches({
    lengths: rows.map(({ ids }) => ids.length),
    batch,
    order: { kind: mean === "rows" ? "file" : "length" },
  });
  for (const members of plan) {
    const batchRows = Array.from(members, (row) => rows[row]).filter((row) => row !== undefined);
    yield buildBatch(batchRows, { layout, padId });
  }
}

/** The loss over the validation rows, and where these have classes, what was said of them. */
export interface LossEvaluation {
  readonly loss: number;
  readonly classified: Omit<Classified, "classes"> | undefined;
}

/** The validation loss. @throws the reason of `signal`, once it is aborted */
export const evaluateLoss = async (
  session: LossSession,
  options: EvaluationOptions,
  {
    signal,
    onProgress,
  }: {
    readonly signal?: AbortSignal | undefined;
    /** Called with the rows that are done, first with none. */
    readonly onProgress?: (rows: number) => void;
  } = {},
): Promise<LossEvaluation> => {
  const predicted: number[] = [];
  const truth: number[] = [];
  let [total, weight, rows] = [0, 0, 0];
  onProgress?.(rows);
  for (const batch of evaluationBatches(options)) {
    const { loss, labelLogits } = await session.run(batch, 1 / Math.max(1, batch.labelledTokens), {
      signal,
    });
    const share = options.mean === "rows" ? batch.batch : batch.labelledTokens;
    total += loss * share;
    weight += share;
    rows += batch.batch;
    const { classes } = batch;
    if (labelLogits && classes) {
      const count = labelLogits.length / batch.batch;
      truth.push(...classes);
      for (let row = 0; row < batch.batch; row++)
        predicted.push(likeliestClass(labelLogits, row * count, count));
    }
    onProgress?.(rows);
  }
  return {
    loss: total / weight,
    classified: truth.length > 0 ? { predicted, truth } : undefined,
  };
};
