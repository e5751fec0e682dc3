import test from "ava";
import { UserError } from "../../src/core/errors.js";
import {
  countEvaluations,
  countTotalSteps,
  isEvaluationStep,
  learningRate,
  resolveEvalSteps,
} from "../../src/train/schedule.js";
import type { EvaluationPlan } from "../../src/train/schedule.js";

const rates = (peak: number, warmupSteps: number, totalSteps: number): number[] =>
  Array.from({ length: totalSteps + 1 }, (_, n) =>
    learningRate({ peak, warmupSteps, totalSteps }, n),
  );

test("learningRate climbs from 0 in the warmup and falls to 0", (t) => {
  t.deepEqual(rates(1, 2, 6), [0, 0.5, 1, 0.75, 0.5, 0.25, 0]);
  t.deepEqual(rates(0.5, 0, 2), [0.5, 0.25, 0]);
});

test("learningRate stays defined where the warmup is as long as the run, or longer", (t) => {
  t.deepEqual(rates(1, 2, 2), [0, 0.5, 0]);
  t.deepEqual(rates(1, 4, 2), [0, 0.25, 0.5]);
  t.is(learningRate({ peak: 1, warmupSteps: 0, totalSteps: 2 }, 3), 0);
});

test("countTotalSteps rounds a fraction of the epochs up and never makes an epoch empty", (t) => {
  t.is(countTotalSteps(3, 10, 1), 30);
  t.is(countTotalSteps(1, 10, 4), 2);
  t.is(countTotalSteps(1.1, 10, 4), 3);
  t.is(countTotalSteps(0.01, 10, 1), 1);
  t.is(countTotalSteps(2, 1, 4), 2);
});

test("resolveEvalSteps takes a share below 1 and whole steps from 1", (t) => {
  t.is(resolveEvalSteps(0.3, 25), 8);
  t.is(resolveEvalSteps(1, 25), 1);
  t.is(resolveEvalSteps(80, 25), 80);
  t.is(resolveEvalSteps(1e-9, 25), 1);
  for (const bad of [0, -1, 1.5, NaN, Infinity])
    t.throws(() => resolveEvalSteps(bad, 25), { instanceOf: UserError, message: /--eval_steps=/ });
});

const evaluated = (plan: EvaluationPlan): number[] =>
  Array.from({ length: plan.totalSteps + 1 }, (_, step) => step).filter((step) =>
    isEvaluationStep(plan, step),
  );

test("countEvaluations counts the steps of isEvaluationStep, in any part of a run", (t) => {
  for (const strategy of ["no", "steps", "epoch"] as const)
    for (const totalSteps of [0, 3, 4, 10, 12]) {
      const plan = { everySteps: 3, stepsPerEpoch: 4, totalSteps, strategy };
      const steps = evaluated(plan);
      for (let done = 0; done <= totalSteps; done++)
        t.is(countEvaluations(plan, done), steps.filter((step) => step <= done).length);
      t.is(countEvaluations(plan), steps.length);
    }
  // A share of no updates.
  t.is(countEvaluations({ everySteps: 0, stepsPerEpoch: 4, totalSteps: 0, strategy: "steps" }), 0);
});

test("isEvaluationStep keeps to multiples for steps, and to the ends of epochs and run for epoch", (t) => {
  const plan = { everySteps: 4, stepsPerEpoch: 4, totalSteps: 10 };
  t.deepEqual(evaluated({ ...plan, strategy: "steps" }), [4, 8]);
  t.deepEqual(evaluated({ ...plan, strategy: "epoch" }), [4, 8, 10]);
  t.deepEqual(evaluated({ ...plan, strategy: "no" }), []);
  t.deepEqual(evaluated({ ...plan, strategy: "epoch", totalSteps: 0 }), []);
});
