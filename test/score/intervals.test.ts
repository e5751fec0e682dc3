import { readFileSync } from "node:fs";
import test from "ava";
import { wilsonInterval } from "../../src/score/intervals.js";
import { mcnemarExact } from "../../src/score/resample.js";

const stored = JSON.parse(
  readFileSync(new URL("../fixtures/metrics/tests.json", import.meta.url), "utf8"),
) as { readonly wilson: number[][]; readonly mcnemar: number[][] };

test("Wilson's intervals equal scipy's", (t) => {
  t.true(stored.wilson.length > 0);
  for (const [right = 0, rows = 0, low = NaN, high = NaN] of stored.wilson) {
    const interval = wilsonInterval(right, rows);
    t.true(Math.abs(interval.low - low) < 1e-9, `${String(right)} of ${String(rows)}`);
    t.true(Math.abs(interval.high - high) < 1e-9, `${String(right)} of ${String(rows)}`);
  }
});

test("the exact p of McNemar's test equals scipy's binomial test", (t) => {
  t.true(stored.mcnemar.length > 0);
  for (const [b = 0, c = 0, p = NaN] of stored.mcnemar)
    t.true(Math.abs(mcnemarExact(b, c) - p) < 1e-9, `${String(b)} and ${String(c)}`);
});
