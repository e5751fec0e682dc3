import test from "ava";
import { noEvaluations, recordEvaluation, shouldStopEarly } from "../../src/train/early-stop.js";

const after = (losses: readonly number[]) =>
  losses.reduce(
    (record, metric, i) => recordEvaluation(record, { step: i + 1, metric }),
    noEvaluations,
  );

test("recordEvaluation keeps the first of the lowest losses", (t) => {
  t.deepEqual(after([]), { best: undefined, withoutGain: 0 });
  t.deepEqual(after([2]), { best: { step: 1, metric: 2 }, withoutGain: 0 });
  t.deepEqual(after([2, 1, 1, 3]), { best: { step: 2, metric: 1 }, withoutGain: 2 });
  t.deepEqual(after([2, 3, 1]), { best: { step: 3, metric: 1 }, withoutGain: 0 });
});

test("recordEvaluation never takes NaN for the best", (t) => {
  t.deepEqual(after([NaN, 2, NaN]), { best: { step: 2, metric: 2 }, withoutGain: 1 });
});

test("shouldStopEarly waits for that many evaluations without gain; 0 never stops", (t) => {
  t.false(shouldStopEarly(after([2, 3]), 2));
  t.true(shouldStopEarly(after([2, 3, 2]), 2));
  t.true(shouldStopEarly(after([2, 2]), 1));
  t.false(shouldStopEarly(after([1, 2, 3, 4, 5]), 0));
});
