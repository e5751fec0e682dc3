import test from "ava";
import { trainingClock } from "../../src/cli/training-clock.js";

/** Four updates, with a validation after the second and the fourth. */
const validation = {
  from: (step: number): number => [2, 4].filter((at) => at >= step).length,
  updatesEach: 3,
};

test("time left counts validations, by their tokens until one has been timed (9.32)", (t) => {
  let nowMs = 0;
  const clock = trainingClock(4, 0, validation, () => nowMs);
  t.is(clock.secondsLeft(), Infinity);
  nowMs = 1000;
  clock.step(1);
  // Three updates of a second, two validations of three.
  t.is(clock.secondsLeft(), 9);
  nowMs = 2000;
  clock.step(2);
  t.is(clock.secondsLeft(), 8);
  clock.validating(0);
  nowMs = 7000;
  clock.validating(0.5);
  // The validation takes ten seconds, and there are one and a half of them left.
  t.is(clock.secondsLeft(), 2 + 15);
  nowMs = 12_000;
  clock.validated();
  t.is(clock.secondsLeft(), 2 + 10);
  nowMs = 13_000;
  clock.step(3);
  t.is(clock.secondsLeft(), 1 + 10);
  nowMs = 14_000;
  clock.step(4);
  t.is(clock.secondsLeft(), 10);
  clock.validating(0);
  nowMs = 24_000;
  clock.validated();
  t.is(clock.secondsLeft(), 0);
});

test("time left of a run without validations, and of one that goes on (9.32)", (t) => {
  let nowMs = 0;
  const clock = trainingClock(10, 6, undefined, () => nowMs);
  nowMs = 2000;
  clock.step(7);
  t.is(clock.secondsLeft(), 6);
  t.is(trainingClock(0, 0, undefined, () => 0).secondsLeft(), 0);
});
