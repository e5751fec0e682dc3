import test from "ava";
import { hfLog } from "../../src/report/hf-log.js";
import { pythonRound } from "../../src/report/python-format.js";

// The texts are what Python 3 prints for these numbers.
test("pythonRound takes an exact tie to the even digit, as Python's round (9.38)", (t) => {
  const cases = [
    [0.03125, 4, 0.0312],
    [1.23455, 4, 1.2346],
    [2.5, 0, 2],
    [0.00005, 4, 0.0001],
    [1234.5675, 3, 1234.568],
    [0.125, 2, 0.12],
    [0.375, 2, 0.38],
    [-0.03125, 4, -0.0312],
    [1e-9, 4, 0],
    [123456789.0005, 3, 123456789],
  ] as const;
  for (const [value, digits, rounded] of cases) t.is(pythonRound(value, digits), rounded);
  t.is(pythonRound(NaN, 4), NaN);
  t.is(pythonRound(Infinity, 4), Infinity);
});

test("hfLog prints the dicts of transformers 4.41's trainer (9.38)", (t) => {
  const log = hfLog(1);
  t.is(
    log.step({ step: 1, loss: 1.23451, gradNorm: 0.5, nextLearningRate: 1e-5, epoch: 0.0123 }),
    "{'loss': 1.2345, 'grad_norm': 0.5, 'learning_rate': 1e-05, 'epoch': 0.01}",
  );
  t.is(
    log.evaluation({ figures: { eval_loss: 1.5 }, seconds: 2, rows: 120, batches: 30, epoch: 1 }),
    "{'eval_loss': 1.5, 'eval_runtime': 2.0, 'eval_samples_per_second': 60.0, 'eval_steps_per_second': 15.0, 'epoch': 1.0}",
  );
  t.is(
    log.end({ seconds: 12.34567, samples: 400, steps: 25, meanLoss: 0.7512345678, epoch: 1 }),
    "{'train_runtime': 12.3457, 'train_samples_per_second': 32.4, 'train_steps_per_second': 2.025, 'train_loss': 0.7512345678, 'epoch': 1.0}",
  );
});

test("hfLog's loss is the mean since the line before, at multiples alone (9.38)", (t) => {
  const log = hfLog(2);
  const lines = [1, 2, 3, 4, 5].map((step) =>
    log.step({ step, loss: step, gradNorm: 1, nextLearningRate: 0, epoch: step / 5 }),
  );
  t.deepEqual(lines, [
    undefined,
    "{'loss': 1.5, 'grad_norm': 1.0, 'learning_rate': 0.0, 'epoch': 0.4}",
    undefined,
    "{'loss': 3.5, 'grad_norm': 1.0, 'learning_rate': 0.0, 'epoch': 0.8}",
    undefined,
  ]);
});
