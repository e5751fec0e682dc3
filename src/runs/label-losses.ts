import { cpuPlan, type ComputePlan } from "../runtime/compute-plan.js";
import { buildBatch } from "../datasets/build-batch.js";
import { countLabels, type EncodedRow } from "../datasets/encoded-rows.js";
import { planBatches } from "../datasets/plan-batches.js";
import { readyModel } from "../decode/open-engine.js";
import { openLossSession, type TellCheck } from "../train/device-check.js";
import { chunkCount } from "../train/loss-session.js";
import { causalLm } from "../train/tasks/causal-lm.js";
import { storeOf } from "../train/parameters.js";
import type { Answerer } from "./kept-answers.js";

/** A model that says how likely given tokens are. */
export interface LikelihoodModel {
  /**
   * Of each row, in the rows' order, -log p of its labelled tokens, one each.
   *
   * @param options.batch rows that are computed together, those of like length
   * @param options.onProgress called with the rows that are done
   */
  lossesOf(
    rows: readonly EncodedRow[],
    options: {
      readonly batch: number;
      readonly signal?: AbortSignal | undefined;
      readonly onProgress?: (rows: number) => void;
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
    async lossesOf(asked, { batch: size, signal, onProgress }) {
      const found: Float32Array[] = new Array<Float32Array>(asked.length);
      let done = 0;
      const plan = planBatches({
        lengths: asked.map(({ ids }) => ids.length),
        batch: size,
        order: { kind: "length" },
      });
      for (const members of plan) {
        signal?.throwIfAborted();
        const batchRows = Array.from(members, (i) => asked[i]).filter((row) => row !== undefined);
        const built = buildBatch(batchRows, { layout: { kind: "right-padded" }, padId });
        const counts = new Array<number>(built.batch).fill(0);
        for (const at of causalLm.labelled(built).rows) {
          const row = Math.floor(Number(at) / built.seq);
          counts[row] = (counts[row] ?? 0) + 1;
        }
        const { labelLosses = new Float32Array() } = await session.run(built, 1, { signal });
        let from = 0;
        for (const [i, index] of members.entries()) {
          const count = counts[i] ?? 0;
          found[index] = labelLosses.subarray(from, from + count);
          from += count;
        }
        done += members.length;
        onProgress?.(done);
      }
      return found;
    },
    dispose: () => {
      session.dispose();
    },
  };
};
