import test from "ava";
import { median } from "../../src/core/median.js";

test("median takes the middle number, or the mean of the two middle ones, in the order of their size", (t) => {
  t.is(median([10, 9, 1]), 9);
  t.is(median([10, 2, 4, -7]), 3);
  t.is(median([5]), 5);
});

test("median of no number is NaN, and leaves its argument as it was", (t) => {
  t.is(median([]), NaN);
  const numbers = [3, 1, 2];
  median(numbers);
  t.deepEqual(numbers, [3, 1, 2]);
});
