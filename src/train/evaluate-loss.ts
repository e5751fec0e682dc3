import { buildBatch, type BatchLayout } from "../datasets/build-batch.js";
import type { EncodedRow } from "../datasets/encoded-rows.js";
import { planBatches } from "../datasets/plan-batches.js";
import type { LossSession } from "./loss-session.js";

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

/** The validation loss. */
export const evaluateLoss = async (
  session: LossSession,
  { rows, batch, layout, padId, mean }: EvaluationOptions,
  signal?: AbortSignal,
): Promise<number> => {
  const plan = planBatches({
    lengths: rows.map(({ ids }) => ids.length),
    batch,
    order: { kind: mean === "rows" ? "file" : "length" },
  });
  let [total, weight] = [0, 0];
  for (const members of plan) {
    const batchRows = Array.from(members, (row) => rows[row]).filter((row) => row !== undefined);
    const built = buildBatch(batchRows, { layout, padId });
    const { loss } = await session.run(built, 1 / Math.max(1, built.labelledTokens), signal);
    const share = mean === "rows" ? built.batch : built.labelledTokens;
    total += loss * share;
    weight += share;
  }
  return total / weight;
};
