import { cpuPlan } from "../../../src/runtime/compute-plan.js";
import { precisionsOf, short, type Stage } from "../stage.js";
import { loadModel, randomBatch, timesOf, trainSteps, type TrainingCase } from "../training.js";

/** How far a loss may be from the CPU's after so many steps, by precision: rounding grows with every step. */
const bounds = { fp32: 1e-3, mixed: 2e-2, bf16: 2e-2, fp16: 2e-2 } as const;

/** Fifty updates on the demo's model, step by step beside the CPU's. */
export const losses: Stage = {
  title: "Losses of a training",
  about:
    "HiRA on the demo's model, 8 x 64 tokens, the same batches and start values: the largest relative difference of a step's loss from the CPU's in float32.",
  limit: 40,
  async run({ add, open, plan, dryRun }) {
    const device = await open();
    const model = await loadModel("data_file/demo");
    const { vocabSize } = model.model;
    const training: TrainingCase = {
      ...{ method: "hira", rank: 8, rate: 2e-3, checkpointing: false, steps: dryRun ? 10 : 50 },
      batchOf: (step) => randomBatch(vocabSize, { batch: 8, seq: 64, labelled: 16 }, step % 5),
    };
    const expected = await trainSteps(model, cpuPlan(), training);
    for (const precision of precisionsOf(device, ["fp32", "bf16", "mixed"])) {
      const found = await trainSteps(model, await plan(precision), training);
      const differences = found.losses.map(
        (loss, i) => Math.abs(loss - (expected.losses[i] ?? NaN)) / (expected.losses[i] ?? NaN),
      );
      const largest = Math.max(
        ...differences.map((each) => (Number.isNaN(each) ? Infinity : each)),
      );
      add({
        ...{ precision, steps: training.steps, ok: largest <= bounds[precision] },
        first: short(found.losses[0] ?? NaN),
        last: short(found.losses.at(-1) ?? NaN),
        "CPU's last": short(expected.losses.at(-1) ?? NaN),
        "largest difference": short(largest),
        allowed: bounds[precision],
        "ms a step": short(timesOf(found).middle),
        "CPU's": short(timesOf(expected).middle),
      });
    }
    device.dispose();
  },
};
