import { buildBatch, type Batch, type BatchLayout } from "../datasets/build-batch.js";
import type { EncodedRow } from "../datasets/encoded-rows.js";
import { planBatches } from "../datasets/plan-batches.js";
import { likeliestClass, type Classified } from "./class-figures.js";
import { soloGroup, type ProcessGroup } from "../distributed/process-group.js";
import { doneByAll, ownShare } from "../distributed/shared-work.js";
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

/** What was said of a batch's rows, and what they are. */
interface BatchAnswers {
  /** Which batch it is. */
  readonly place: number;
  readonly predicted: readonly number[];
  readonly truth: readonly number[];
}

/** The loss over the validation rows, and where these have classes, what was said of them. */
export interface LossEvaluation {
  readonly loss: number;
  readonly classified: Omit<Classified, "classes"> | undefined;
}

/**
 * The validation loss: process r of n computes every n-th batch, and all have the result.
 *
 * @throws the reason of `signal`, once it is aborted
 */
export const evaluateLoss = async (
  session: LossSession,
  options: EvaluationOptions,
  {
    signal,
    onProgress,
    group = soloGroup,
  }: {
    readonly group?: ProcessGroup | undefined;
    readonly signal?: AbortSignal | undefined;
    /** Called with the rows that are done, first with none. */
    readonly onProgress?: (rows: number) => void;
  } = {},
): Promise<LossEvaluation> => {
  const said: BatchAnswers[] = [];
  let [total, weight, rows, own] = [0, 0, 0, 0];
  onProgress?.(rows);
  for (const [place, batch] of ownShare(evaluationBatches(options), group)) {
    const { loss, labelLogits } = await session.run(batch, 1 / Math.max(1, batch.labelledTokens), {
      signal,
    });
    const share = options.mean === "rows" ? batch.batch : batch.labelledTokens;
    total += loss * share;
    weight += share;
    rows += batch.batch;
    own++;
    const { classes } = batch;
    if (labelLogits && classes) {
      const count = labelLogits.length / batch.batch;
      const predicted = Array.from({ length: batch.batch }, (_, row) =>
        likeliestClass(labelLogits, row * count, count),
      );
      said.push({ place, predicted, truth: [...classes] });
    }
    onProgress?.(doneByAll(rows, options.rows.length, group));
  }
  const rounds = Math.ceil(Math.ceil(options.rows.length / options.batch) / group.size);
  for (let round = own; round < rounds; round++) await session.accompany();
  const sums = Float64Array.of(total, weight);
  await group.sum(sums);
  const all = (await group.gather(said)).flat().sort((a, b) => a.place - b.place);
  const predicted = all.flatMap((each) => each.predicted);
  const truth = all.flatMap((each) => each.truth);
  const [sum = NaN, count = NaN] = sums;
  return {
    loss: sum / count,
    classified: truth.length > 0 ? { predicted, truth } : undefined,
  };
};
