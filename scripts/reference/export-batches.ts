/**
 * Writes the batches that a `hira train` run sees, in its order, for scripts/reference/train_peer.py.
 *
 * usage: npx tsx scripts/reference/export-batches.ts OUT_DIR FLAGS_OF_HIRA_TRAIN...
 *
 * train.jsonl: a line an update with its micro-batches. validation.jsonl: a line a batch. run.json: what else the run is
 * made of (numbers of the schedule and of AdamW, rank, adapted layers, how the base is held).
 */
import { join, resolve } from "node:path";
import { writeFileAtomically } from "../../src/core/atomic-file.js";
import { writeJsonl } from "../../src/report/jsonl.js";
import { evaluationBatches } from "../../src/train/evaluate-loss.js";
import type { MicroBatches } from "../../src/train/micro-batches.js";
import { planRunBatches } from "../../src/train/run-batches.js";
import { planTraining } from "../../src/train/training-settings.js";
import { isEvaluationStep } from "../../src/train/schedule.js";
import { loadTrainingData } from "../../src/train/training-data.js";
import { storeBatch, writeSteps, type StoredStep } from "./batch-file.js";
import { withTrainingRun } from "./training-run.js";

function* stepsOf(batches: MicroBatches, count: number): Iterable<StoredStep> {
  for (let step = 0; step < count; step++)
    yield { step: step + 1, batches: batches.ofStep(step).map(storeBatch) };
}

await withTrainingRun(async (out, { options, base, adapter, ui }) => {
  const { folder } = base;
  const data = await loadTrainingData(options, base);
  for (const warning of data.warnings) ui.warn(warning);
  const plan = planTraining(options, data.train.length);
  const { train, evaluation } = planRunBatches(options, data, adapter);
  await writeSteps(join(out, "train.jsonl"), stepsOf(train, plan.totalSteps));
  const validation = evaluation ? Array.from(evaluationBatches(evaluation), storeBatch) : [];
  await writeJsonl(join(out, "validation.jsonl"), validation);
  const steps = Array.from({ length: plan.totalSteps }, (_, i) => i + 1);
  const run = {
    model: resolve(folder.path),
    peft_type: adapter.method.name,
    rank: options.rank,
    lora_alpha: options.alpha,
    four_bit:
      options.loadBit === 4
        ? { quant_type: options.quantType, double_quant: options.doubleQuant }
        : null,
    targets: adapter.targets.map(({ path }) => path),
    total_steps: plan.totalSteps,
    warmup: plan.warmupSteps,
    lr: options.lr,
    weight_decay: options.weightDecay,
    max_grad_norm: options.maxGradNorm,
    evaluate_after: steps.filter((step) => isEvaluationStep(plan, step)),
    pad_id: data.padId,
  };
  await writeFileAtomically(join(out, "run.json"), `${JSON.stringify(run, undefined, 2)}\n`);
  ui.line(
    `${out}: ${String(plan.totalSteps)} steps, ${String(validation.length)} validation batches`,
  );
});
