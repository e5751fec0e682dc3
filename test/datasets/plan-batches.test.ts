import test from "ava";
import { planBatches } from "../../src/datasets/plan-batches.js";
import { randomStream } from "../../src/core/random.js";

const lengthsOf = (count: number, seed: number): number[] => {
  const stream = randomStream(seed, "lengths");
  return Array.from({ length: count }, () => 20 + stream.integer(200));
};
const flat = (plan: readonly Uint32Array[]): number[] => plan.flatMap((rows) => [...rows]);
const columns = (plan: readonly Uint32Array[], lengths: readonly number[]): number =>
  plan.reduce(
    (sum, rows) => sum + rows.length * Math.max(...[...rows].map((i) => lengths[i] ?? 0)),
    0,
  );

for (const [count, batch] of [
  [1, 16],
  [16, 16],
  [17, 16],
  [1000, 16],
  [801, 1],
  [2500, 7],
] as const) {
  for (const buckets of [true, false]) {
    test(`planBatches uses each of ${String(count)} rows once in batches of ${String(batch)}, ${buckets ? "with" : "without"} buckets`, (t) => {
      const lengths = lengthsOf(count, count);
      const plan = planBatches({
        lengths,
        batch,
        order: { kind: "shuffled", seed: 3, epoch: 2, buckets },
      });
      t.deepEqual(
        flat(plan).sort((a, b) => a - b),
        lengths.map((_, i) => i),
      );
      t.is(plan.length, Math.ceil(count / batch));
      t.is(plan.filter((rows) => rows.length !== batch).length, count % batch === 0 ? 0 : 1);
    });
  }
}

test("planBatches is a function of seed and epoch alone", (t) => {
  const lengths = lengthsOf(300, 1);
  const plan = (seed: number, epoch: number): number[] =>
    flat(
      planBatches({ lengths, batch: 8, order: { kind: "shuffled", seed, epoch, buckets: true } }),
    );
  t.deepEqual(plan(1, 0), plan(1, 0));
  t.notDeepEqual(plan(1, 0), plan(1, 1));
  t.notDeepEqual(plan(1, 0), plan(2, 0));
});

test("planBatches with buckets pads far less than a random order, and mixes lengths over the epoch", (t) => {
  const lengths = lengthsOf(4000, 2);
  const plan = (buckets: boolean): Uint32Array[] =>
    planBatches({ lengths, batch: 16, order: { kind: "shuffled", seed: 1, epoch: 0, buckets } });
  const real = lengths.reduce((sum, length) => sum + length, 0);
  t.true(columns(plan(true), lengths) < 1.05 * real);
  t.true(columns(plan(false), lengths) > 1.4 * real);
  // Short and long batches stand in both halves of the epoch.
  const meanLength = (rows: readonly number[]): number =>
    rows.reduce((sum, i) => sum + (lengths[i] ?? 0), 0) / rows.length;
  const order = flat(plan(true));
  t.true(Math.abs(meanLength(order.slice(0, 2000)) - meanLength(order.slice(2000))) < 15);
});

test("planBatches keeps the file's order, or takes the longest first", (t) => {
  const lengths = [5, 9, 5, 7];
  const plan = (kind: "file" | "length"): number[][] =>
    planBatches({ lengths, batch: 3, order: { kind } }).map((rows) => [...rows]);
  t.deepEqual(plan("file"), [[0, 1, 2], [3]]);
  t.deepEqual(plan("length"), [[1, 3, 0], [2]]);
});

test("planBatches refuses a batch of no rows", (t) => {
  t.throws(() => planBatches({ lengths: [1], batch: 0, order: { kind: "file" } }), {
    instanceOf: RangeError,
  });
});
