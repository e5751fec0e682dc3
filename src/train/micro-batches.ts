import { buildBatch, type Batch, type BatchLayout } from "../datasets/build-batch.js";
import type { EncodedRow } from "../datasets/encoded-rows.js";
import { planBatches, type BatchOrder } from "../datasets/plan-batches.js";

/** The rows of a training, and how they become micro-batches and updates. */
export interface MicroBatchOptions {
  readonly rows: readonly EncodedRow[];
  /** Rows a micro-batch. */
  readonly batch: number;
  /** Micro-batches an update, in all processes together. */
  readonly gradAcc: number;
  readonly layout: BatchLayout;
  readonly padId: number;
  /** The order of an epoch (from 0); a pure function. */
  readonly orderOf: (epoch: number) => BatchOrder;
}

/**
 * The micro-batches of every update of a run, each a pure function of the update's number.
 *
 * The epochs' batches follow one another without a gap, so what --grad_acc leaves of an epoch begins the next one's first
 * update; an epoch with fewer batches than --grad_acc is one update. Source: _inner_training_loop of transformers 4.41.
 */
export interface MicroBatches {
  readonly batchesPerEpoch: number;
  /** The micro-batches of update `step`, from 0; process r of n computes every n-th of them from the r-th on. */
  ofStep(step: number): readonly Batch[];
  /** Where the data stand after `steps` updates: the epoch under way and its batches already used. */
  positionAfter(steps: number): { readonly epoch: number; readonly batch: number };
}

/** Micro-batches of any update, in any order; the plan of one epoch is kept, and made anew for another. */
export const planMicroBatches = ({
  rows,
  batch,
  gradAcc,
  layout,
  padId,
  orderOf,
}: MicroBatchOptions): MicroBatches => {
  const lengths = rows.map(({ ids }) => ids.length);
  const batchesPerEpoch = Math.ceil(rows.length / batch);
  const perStep = Math.min(gradAcc, batchesPerEpoch);
  let planned: { readonly epoch: number; readonly plan: readonly Uint32Array[] } | undefined;
  const planOf = (epoch: number): readonly Uint32Array[] => {
    if (planned?.epoch !== epoch)
      planned = { epoch, plan: planBatches({ lengths, batch, order: orderOf(epoch) }) };
    return planned.plan;
  };
  return {
    batchesPerEpoch,
    ofStep: (step) =>
      Array.from({ length: perStep }, (_, i) => {
        const index = step * perStep + i;
        const plan = planOf(Math.floor(index / batchesPerEpoch));
        const members = plan[index % batchesPerEpoch] ?? new Uint32Array();
        return buildBatch(
          Array.from(members, (row) => rows[row]).filter((row) => row !== undefined),
          { layout, padId },
        );
      }),
    positionAfter: (steps) => ({
      epoch: Math.floor((steps * perStep) / batchesPerEpoch),
      batch: (steps * perStep) % batchesPerEpoch,
    }),
  };
};
