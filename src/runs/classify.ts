import type { ComputePlan } from "../runtime/compute-plan.js";
import { buildBatch } from "../datasets/build-batch.js";
import { planBatches } from "../datasets/plan-batches.js";
import { soloGroup, type ProcessGroup } from "../distributed/process-group.js";
import { doneByAll, ownShare, waitUnlessStopped } from "../distributed/shared-work.js";
import type { Classifier } from "../models/classifier.js";
import type { FrozenWeights } from "../models/weights/frozen-weights.js";
import type { Adapter } from "../peft/adapter.js";
import type { PredictionRow } from "../report/output-jsonl.js";
import type { ProgressUi } from "../report/progress.js";
import { PythonFloat } from "../report/python-format.js";
import { classification } from "../score/classification.js";
import { figuresInLine } from "../score/main-figures.js";
import { likeliestClass } from "../train/class-figures.js";
import type { ClassQuestions } from "../train/class-data.js";
import type { InterruptSignal } from "../train/interrupt.js";
import { openLossSession, type TellCheck } from "../train/device-check.js";
import { chunkCount } from "../train/loss-session.js";
import type { ParameterStore } from "../train/parameters.js";
import { taskOf } from "../train/tasks/registry.js";

/** A classifier that is to be asked: the model, and what was trained on it. */
export interface ClassifierSource {
  readonly model: Classifier;
  readonly weights: FrozenWeights;
  /** Undefined: the plain model. */
  readonly adapter: Adapter | undefined;
  readonly store: ParameterStore | undefined;
  /** The token that rows are padded with. */
  readonly padId: number;
}

/** exp(x - max) / sum, of one row of logits. */
const softmax = (logits: Float32Array): readonly number[] => {
  const most = logits.reduce((max, x) => Math.max(max, x), -Infinity);
  const powers = Array.from(logits, (x) => Math.exp(x - most));
  const sum = powers.reduce((total, x) => total + x, 0);
  return powers.map((x) => x / sum);
};

/**
 * Classifies rows: as `pred` the likeliest label, beside it the probabilities of all labels by name.
 *
 * Rows of like length share a batch; they come back in their file's order.
 */
export const classifyRows = async (
  { model, weights, adapter, store, padId }: ClassifierSource,
  { rows, encoded, path }: ClassQuestions,
  {
    batch,
    plan,
    tellCheck,
    ui,
    interrupt,
    group = soloGroup,
  }: {
    readonly batch: number;
    readonly plan: ComputePlan;
    /** Where the device is compared with the CPU first, who is told. */
    readonly tellCheck?: TellCheck | undefined;
    readonly ui: Pick<ProgressUi, "decoding">;
    readonly interrupt: Pick<InterruptSignal, "stop">;
    /** The processes that share the rows; process 0 alone looks at signals. Default: this one alone. */
    readonly group?: ProcessGroup | undefined;
  },
): Promise<readonly PredictionRow[]> => {
  const { labels } = model;
  const options = {
    ...{ model, adapter },
    maxPositions: encoded.reduce((most, { ids }) => Math.max(most, ids.length), 1),
    chunks: chunkCount(batch),
    ...{ gradients: false, recomputeLayers: false },
    task: taskOf(model, padId),
    labelLogits: true,
  };
  const session = await openLossSession({ options, weights, store, plan }, tellCheck);
  const progress = ui.decoding(encoded.length, path, "rows");
  const width = labels.length;
  const logits = new Float32Array(encoded.length * width);
  const signal = group.rank === 0 ? interrupt.stop : undefined;
  let [own, shown] = [0, 0];
  try {
    const lengths = encoded.map(({ ids }) => ids.length);
    const plan = planBatches({ lengths, batch, order: { kind: "length" } });
    for (const [, members] of ownShare(plan, group)) {
      signal?.throwIfAborted();
      const given = Array.from(members, (i) => encoded[i]).filter((row) => row !== undefined);
      const built = buildBatch(given, { layout: { kind: "right-padded" }, padId });
      const { labelLogits = new Float32Array() } = await session.run(built, 1);
      for (const [at, i] of members.entries())
        logits.set(labelLogits.subarray(at * width, (at + 1) * width), i * width);
      own += given.length;
      const all = doneByAll(own, encoded.length, group);
      progress.advance(all - shown, "");
      shown = all;
    }
    // What the others have computed is 0 here, so a sum is what stands in one of them.
    await waitUnlessStopped(group.sum(logits), signal);
    const found: PredictionRow[] = [];
    for (const [i, { row, classLabel = 0 }] of encoded.entries()) {
      const ofRow = logits.subarray(i * width, (i + 1) * width);
      const { text = "", pair } = rows[row] ?? {};
      found[row] = {
        context: pair === undefined ? text : `${text}\n\n${pair}`,
        pred: labels[likeliestClass(ofRow, 0, width)] ?? "",
        gt: labels[classLabel] ?? "",
        more: {
          probabilities: Object.fromEntries(
            softmax(ofRow).map((p, at) => [labels[at] ?? "", new PythonFloat(p)]),
          ),
        },
      };
    }
    return found;
  } finally {
    progress.done();
    session.dispose();
  }
};

/** The figures of classified rows in a line, see figuresInLine. */
export const classScoreLine = async (
  name: string,
  rows: readonly Pick<PredictionRow, "pred" | "gt">[],
): Promise<string> => {
  const answers = rows.map(({ pred, gt }) => ({ context: "", pred, gt }));
  const { figures } = await classification.score(answers, { compat: new Set(), set: undefined });
  const computed = figures.flatMap((figure) => (figure.value === undefined ? [] : [figure]));
  return figuresInLine(name, computed, rows.length);
};
