import { cpuPlan, type ComputePlan } from "../runtime/compute-plan.js";
import { buildBatch } from "../datasets/build-batch.js";
import { countLabels, type EncodedRow } from "../datasets/encoded-rows.js";
import { planBatches } from "../datasets/plan-batches.js";
import { soloGroup, type ProcessGroup } from "../distributed/process-group.js";
import { doneByAll, ownShare, waitUnlessStopped } from "../distributed/shared-work.js";
import { readyModel } from "../decode/open-engine.js";
import { openLossSession, type TellCheck } from "../train/device-check.js";
import { chunkCount } from "../train/loss-session.js";
import { storeOf } from "../train/parameters.js";
import type { Answerer } from "./kept-answers.js";

/** A model that says how likely given tokens are. */
export interface LikelihoodModel {
  /**
   * Of each row, in the rows' order, -log p of its labelled tokens, one each.
   *
   * @param options.batch rows that are computed together, those of like length
   * @throws the reason of `signal` once it is aborted
   */
  lossesOf(
    rows: readonly EncodedRow[],
    options: {
      readonly batch: number;
      readonly signal?: AbortSignal | undefined;
      /** @param rows that are done, in all processes */
      readonly onProgress?: (rows: number) => void;
      /** The processes that share the rows; all get the losses of all. Default: this one alone. */
      readonly group?: ProcessGroup | undefined;
    },
  ): Promise<readonly Float32Array[]>;
  dispose(): void;
}

/**
 * Opens a model, with what was trained in it, for rows that are known: merged and widened where memory allows, as for decoding.
 *
 * @param rows all that will be asked for: they say how much room the session needs
 */
export const openLikelihood = async (
  { base, adapted }: Answerer,
  rows: readonly EncodedRow[],
  {
    batch,
    plan = cpuPlan(),
    tellCheck,
  }: {
    readonly batch: number;
    readonly plan?: ComputePlan | undefined;
    /** Where the device is compared with the CPU first, who is told. */
    readonly tellCheck?: TellCheck | undefined;
  },
): Promise<LikelihoodModel> => {
  const { model, weights, live } = await readyModel({
    model: base.folder.model,
    weights: base.weights,
    adapted,
    plan,
  });
  const most = (size: (row: EncodedRow) => number): number =>
    rows.reduce((largest, row) => Math.max(largest, size(row)), 1);
  const options = {
    model,
    adapter: live?.adapter,
    maxPositions: most(({ ids }) => ids.length),
    chunks: chunkCount(batch * most(countLabels)),
    gradients: false,
    recomputeLayers: false,
    labelLosses: true,
  };
  const store = live && storeOf(live, plan.device);
  const session = await openLossSession({ options, weights, store, plan }, tellCheck);
  const padId = base.folder.tokenIds.padId ?? base.tokenizer?.padId ?? 0;
  return {
    async lossesOf(asked, { batch: size, signal, onProgress, group = soloGroup }) {
      const counts = asked.map(countLabels);
      const flat = new Float32Array(counts.reduce((sum, count) => sum + count, 0));
      let end = 0;
      const found = counts.map((count) => flat.subarray(end, (end += count)));
      const plan = planBatches({
        lengths: asked.map(({ ids }) => ids.length),
        batch: size,
        order: { kind: "length" },
      });
      let done = 0;
      for (const [, members] of ownShare(plan, group)) {
        signal?.throwIfAborted();
        const batchRows = Array.from(members, (i) => asked[i]).filter((row) => row !== undefined);
        const built = buildBatch(batchRows, { layout: { kind: "right-padded" }, padId });
        const { labelLosses = new Float32Array() } = await session.run(built, 1, { signal });
        let from = 0;
        for (const i of members) {
          const to = from + (counts[i] ?? 0);
          found[i]?.set(labelLosses.subarray(from, to));
          from = to;
        }
        done += members.length;
        onProgress?.(doneByAll(done, asked.length, group));
      }
      // What the others have computed is 0 here, so a sum is what stands in one of them, to the bit.
      await waitUnlessStopped(group.sum(flat), signal);
      return found;
    },
    dispose: () => {
      session.dispose();
    },
  };
};
