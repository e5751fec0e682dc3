import test from "ava";
import {
  bestOf,
  expectedPeak,
  planTuning,
  trialName,
  type TrialResult,
  type TuningLine,
} from "../../src/distributed/autotuning-plan.js";
import { readAutotuning } from "../../src/distributed/autotuning-settings.js";
import { Reading } from "../../src/distributed/ds-config-reading.js";

const mapped = { arg_mappings: { train_micro_batch_size_per_gpu: "--batch" } };

/** The plan of a file with this block for a line of --batch=4 --grad_acc=2, as [stage, [batch, grad_acc], ...]. */
const plan = (file: object, block: object = {}, line: Partial<TuningLine> = {}) => {
  const reading = new Reading();
  const whole = { ...file, autotuning: { enabled: true, ...mapped, ...block } };
  const settings = readAutotuning(whole, reading);
  const { faults } = reading;
  const given = { file: whole, settings, batch: 4, gradAcc: 2, processes: 1, ...line };
  const { stages, microBatches } = planTuning(given, faults);
  return { stages, sizes: microBatches.map(({ batch, gradAcc }) => [batch, gradAcc]), faults };
};

test("planTuning doubles the line's micro-batch, at one global batch", (t) => {
  const found = { stages: [0], faults: [] };
  const sizes = [
    [4, 8],
    [8, 4],
    [16, 2],
  ];
  t.deepEqual(plan({ train_micro_batch_size_per_gpu: "auto" }), { ...found, sizes });
  t.deepEqual(plan({ train_micro_batch_size_per_gpu: 4 }, { arg_mappings: null }).sizes, sizes);
  t.deepEqual(plan({}, { arg_mappings: null }).sizes, [
    [1, 8],
    [2, 4],
    [4, 2],
  ]);
  t.deepEqual(plan({}, { max_train_micro_batch_size_per_gpu: 8 }).sizes, [
    [4, 4],
    [8, 2],
  ]);
  t.deepEqual(plan({}, { max_train_batch_size: 32 }, { processes: 4 }).sizes, [
    [4, 2],
    [8, 1],
  ]);
});

test("planTuning takes the sizes that a file lists, with the line's --grad_acc", (t) => {
  t.deepEqual(plan({ train_micro_batch_size_per_gpu: [16, 1, 4] }).sizes, [
    [1, 2],
    [4, 2],
    [16, 2],
  ]);
});

test("planTuning keeps the global batch that a file gives", (t) => {
  t.deepEqual(plan({ train_batch_size: 48 }, {}, { processes: 2 }).sizes, [
    [4, 6],
    [6, 4],
    [8, 3],
  ]);
  // Where there is nothing larger, smaller ones.
  t.deepEqual(plan({ train_batch_size: 8 }, { num_tuning_micro_batch_sizes: 2 }).sizes, [
    [4, 2],
    [8, 1],
  ]);
  t.deepEqual(plan({ train_batch_size: 9 }, {}, { processes: 2 }).faults, [
    "train_batch_size: found 9, expected a multiple of the 2 processes",
  ]);
});

test("planTuning tries the stages of several processes, or those that a file names", (t) => {
  const two = { processes: 2 };
  t.deepEqual(plan({}, {}, two).stages, [0, 1, 2, 3]);
  t.deepEqual(plan({ zero_optimization: "all" }, {}, two).stages, [0, 1, 2, 3]);
  t.deepEqual(plan({ zero_optimization: { stage: [2, 1] } }, {}, two).stages, [1, 2]);
  t.deepEqual(plan({ zero_optimization: { stage: 3 } }).stages, [3]);
  t.regex(
    plan({ zero_optimization: { stage: [1, 7] } }).faults[0] ?? "",
    /found \[1,7\], expected/,
  );
});

test("a block autotuning has its faults and lines", (t) => {
  const reading = new Reading();
  const settings = readAutotuning(
    { autotuning: { enabled: true, fast: false, tuner_type: "model_based", results_dir: 3 } },
    reading,
  );
  t.deepEqual(reading.faults, ["autotuning.results_dir: found 3, expected a folder"]);
  t.is(reading.lines.length, 2);
  t.like(settings, {
    startProfileStep: 3,
    endProfileStep: 5,
    microBatchSizes: 3,
    metric: "throughput",
  });
  // The files of the original have a blank behind a key.
  const mappings = { "gradient_accumulation_steps ": "--gradient_accumulation_steps" };
  t.deepEqual(readAutotuning({ autotuning: { arg_mappings: mappings } }, reading).argMappings, {
    gradient_accumulation_steps: "--gradient_accumulation_steps",
  });
});

const result = (batch: number, figures?: readonly [number, number, number]): TrialResult => ({
  trial: { stage: 1, batch, gradAcc: 1 },
  measured: figures && {
    throughput: figures[0],
    latency: figures[1],
    peakBytes: [1, figures[2]],
  },
  remark: "",
});

test("the best trial is by throughput or latency, and memory is foreseen along a straight line", (t) => {
  const results = [result(4), result(1, [10, 100, 500]), result(2, [15, 130, 700])];
  t.is(bestOf(results, "throughput")?.trial.batch, 2);
  t.is(bestOf(results, "latency")?.trial.batch, 1);
  t.is(bestOf([result(4)], "throughput"), undefined);
  t.is(expectedPeak(results, { stage: 1, batch: 4, gradAcc: 1 }), 1100);
  t.is(expectedPeak(results, { stage: 2, batch: 4, gradAcc: 1 }), undefined);
  t.is(trialName({ stage: 1, batch: 3, gradAcc: 1 }), "z1_tmbspg3_gas1");
});
