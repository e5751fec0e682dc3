import { cpuPlan, type ComputePlan } from "../runtime/compute-plan.js";
import { randomStream } from "../core/random.js";
import { buildBatch } from "../datasets/build-batch.js";
import type { EncodedRow } from "../datasets/encoded-rows.js";
import type { LiveAdapter } from "../decode/decode-graph.js";
import { classesOf, isClassifier } from "../models/classifier.js";
import type { Model } from "../models/model.js";
import type { FrozenWeights } from "../models/weights/frozen-weights.js";
import { openLossSession, type TellCheck } from "../train/device-check.js";
import type { LossSession } from "../train/loss-session.js";
import { storeOf } from "../train/parameters.js";
import { taskOf } from "../train/tasks/registry.js";

/** A model that gives logits: its config and weights, and an adapter where one works beside them. */
export interface LogitSource {
  readonly model: Model;
  readonly weights: FrozenWeights;
  readonly adapted?: LiveAdapter | undefined;
}

/** How far the logits of one model are from those of another. */
export interface LogitDifference {
  /** The largest |a - b|; NaN if one of them is. */
  readonly largest: number;
  /** Positions at which both find the same token, or class, likeliest. */
  readonly sameToken: number;
}

/** How far the logits of models are from those of a reference, over the same positions. */
export interface LogitComparison {
  /** The largest magnitude of the reference's logits. */
  readonly largestLogit: number;
  readonly positions: number;
  /** One for each of the other models, in their order. */
  readonly differences: readonly LogitDifference[];
}

/** On which rows logits are compared, and where they are computed. */
export interface LogitComparisonOptions {
  readonly rows: readonly EncodedRow[];
  /** Default: the CPU in float32. */
  readonly plan?: ComputePlan | undefined;
  /** Where the device is compared with the CPU first, who is told. */
  readonly tellCheck?: TellCheck | undefined;
}

/** Rows and tokens a row of {@link sampleRows}. */
export const sampleSize = { rows: 4, tokens: 64 } as const;

/** Rows of random token ids, the same for every vocabulary of a size: a sample where no data are given. */
export const sampleRows = ({
  vocabSize,
  maxPositionEmbeddings,
}: Pick<Model, "vocabSize" | "maxPositionEmbeddings">): readonly EncodedRow[] =>
  Array.from({ length: sampleSize.rows }, (_, row) => {
    const stream = randomStream(0, "logit sample", row);
    const length = Math.min(sampleSize.tokens, maxPositionEmbeddings);
    const ids = Int32Array.from({ length }, () => stream.integer(vocabSize));
    return { row, ids, contextLength: 1 };
  });

const openSession = (
  { model, weights, adapted }: LogitSource,
  maxPositions: number,
  { plan = cpuPlan(), tellCheck }: Pick<LogitComparisonOptions, "plan" | "tellCheck">,
): Promise<LossSession> =>
  openLossSession(
    {
      options: {
        model,
        adapter: adapted?.adapter,
        maxPositions,
        chunks: 1,
        gradients: false,
        recomputeLayers: false,
        allLogits: true,
        task: taskOf(model, 0),
      },
      weights,
      store: adapted && storeOf(adapted, plan.device),
      plan,
    },
    tellCheck,
  );

/** The place of the largest of `logits` from `start` on, `length` of them. */
const likeliest = (logits: Float32Array, start: number, length: number): number => {
  let best = start;
  for (let i = start + 1; i < start + length; i++)
    if ((logits[i] ?? 0) > (logits[best] ?? 0)) best = i;
  return best;
};

/** The larger of two numbers; NaN if one of them is. */
const larger = (a: number, b: number): number => (b <= a ? a : Number.isNaN(a) ? a : b);

/**
 * Compares the logits of models of one vocabulary on rows of token ids, a row at a time, at every real token.
 *
 * @param reference what the `others` are compared with
 */
export const compareLogits = async (
  reference: LogitSource,
  others: readonly LogitSource[],
  { rows, plan, tellCheck }: LogitComparisonOptions,
): Promise<LogitComparison> => {
  const longest = rows.reduce((most, { ids }) => Math.max(most, ids.length), 0);
  const sessions: LossSession[] = [];
  const found = others.map(() => ({ largest: 0, sameToken: 0 }));
  let [largestLogit, positions] = [0, 0];
  const classes = classesOf(reference.model);
  try {
    sessions.push(await openSession(reference, longest, { plan, tellCheck }));
    for (const source of others) sessions.push(await openSession(source, longest, { plan }));
    for (const row of rows) {
      // A classifier's loss is over classes, whichever they are: only logits count here.
      const asked = isClassifier(reference.model) ? { ...row, classLabel: 0 } : row;
      const batch = buildBatch([asked], { layout: { kind: "right-padded" }, padId: 0 });
      const [expected = new Float32Array(), ...given] = await logitsOf(sessions, batch);
      for (let token = 0; token < batch.seq; token++) {
        if (!batch.attentionMask[token]) continue;
        positions++;
        const [start, end] = [token * classes, (token + 1) * classes];
        for (let i = start; i < end; i++)
          largestLogit = larger(largestLogit, Math.abs(expected[i] ?? NaN));
        const best = likeliest(expected, start, classes);
        for (const [at, difference] of found.entries()) {
          const logits = given[at] ?? new Float32Array();
          for (let i = start; i < end; i++)
            difference.largest = larger(
              difference.largest,
              Math.abs((logits[i] ?? NaN) - (expected[i] ?? NaN)),
            );
          if (likeliest(logits, start, classes) === best) difference.sameToken++;
        }
      }
    }
  } finally {
    for (const session of sessions) session.dispose();
  }
  return { largestLogit, positions, differences: found };
};

const logitsOf = async (
  sessions: readonly LossSession[],
  batch: Parameters<LossSession["run"]>[0],
): Promise<readonly Float32Array[]> => {
  const all: Float32Array[] = [];
  for (const session of sessions)
    all.push((await session.run(batch, 1)).logits ?? new Float32Array());
  return all;
};
