import test from "ava";
import { classification } from "../../src/score/classification.js";
import { e2e } from "../../src/score/e2e.js";
import { mmlu } from "../../src/score/mmlu.js";
import {
  bootstrapIntervals,
  comparePaired,
  jackknifeInterval,
  mcnemarExact,
  type SumsSample,
} from "../../src/score/resample.js";

const near = (a: number | undefined, b: number, within = 1e-9): boolean =>
  a !== undefined && Math.abs(a - b) < within;

const means = (values: readonly number[]): SumsSample => ({
  kind: "sums",
  terms: Float64Array.from(values),
  width: 1,
  of: ([sum = NaN]) => sum / values.length,
});

test("mcnemarExact is the two-sided sign test of the rows on which two runs differ", (t) => {
  // 2 * sum over k of C(n, k) / 2^n, in whole numbers.
  t.true(near(mcnemarExact(0, 5), 0.0625));
  t.true(near(mcnemarExact(1, 9), 0.021484375));
  t.true(near(mcnemarExact(3, 3), 1));
  t.true(near(mcnemarExact(0, 0), 1));
  t.true(near(mcnemarExact(10, 30), 0.0022214337732293643));
});

test("the bootstrap's interval of a mean is close to the normal's, and the same every time", (t) => {
  const values = Array.from({ length: 400 }, (_, i) => i % 10);
  const [interval] = bootstrapIntervals([means(values)]);
  // 4.5 -+ 1.96 * sqrt(8.25 / 400)
  t.true(near(interval?.low, 4.5 - 0.2815, 0.04));
  t.true(near(interval?.high, 4.5 + 0.2815, 0.04));
  t.deepEqual(bootstrapIntervals([means(values)]), [interval]);
});

test("a paired test sees a small difference that all items share", (t) => {
  const a = Array.from({ length: 100 }, (_, i) => i % 7);
  const better = a.map((value, i) => value + (i % 4 === 0 ? 0 : 0.1));
  const found = comparePaired(means(better), means(a), 0.075);
  t.is(found.name, "bootstrap");
  t.true(found.p < 0.01);
  t.true(found.interval.low > 0 && found.interval.high < 0.1);
  const same = comparePaired(means(a), means(a), 0);
  t.is(same.p, 1);
  t.deepEqual(same.interval, { low: 0, high: 0 });
});

test("comparePaired of shares is McNemar's, with the difference's interval in points", (t) => {
  const right = (of: number) => Array.from({ length: 10 }, (_, i) => i < of);
  const found = comparePaired(
    { kind: "share", right: right(8) },
    { kind: "share", right: right(3) },
    50,
  );
  t.is(found.name, "McNemar");
  t.true(near(found.p, 0.0625));
  // 50 -+ 1.96 * 100 * sqrt((0.5 - 0.25) / 10)
  t.true(near(found.interval.low, 50 - 30.9898, 1e-3));
});

test("jackknifeInterval of a mean's values without one item each is the normal interval", (t) => {
  const values = [1, 2, 3, 4];
  const without = Float64Array.from(values, (value) => (10 - value) / 3);
  // The standard error of the mean: sqrt(5 / 3 / 4).
  const { low } = jackknifeInterval(2.5, without, -100);
  t.true(near(low, 2.5 - 1.959963984540054 * Math.sqrt(5 / 12)));
});

const ours = new Set<never>();

test("classification counts labels without their white space, and knows its figures' intervals", async (t) => {
  const rows = Array.from({ length: 40 }, (_, i) => ({
    context: String(i),
    pred: i % 4 === 0 ? " negative\n" : "positive",
    gt: i % 2 === 0 ? "negative" : "positive",
  }));
  const { figures, counts } = await classification.score(rows, { compat: ours, set: undefined });
  const value = (key: string) => figures.find((figure) => figure.key === key)?.value;
  t.is(value("acc"), 75);
  // 10 of 20 negatives found, none wrongly: F1 2/3 and 4/5.
  t.true(near(value("f1_macro"), (100 * (2 / 3 + 4 / 5)) / 2));
  t.true(near(value("mcc"), (100 * (10 * 20)) / Math.sqrt(10 * 20 * 20 * 30), 1e-6));
  t.true(
    figures.every(
      (figure) =>
        figure.value !== undefined &&
        figure.interval.low < figure.value &&
        figure.value < figure.interval.high,
    ),
  );
  t.deepEqual(counts, { "a label that is never true": 0 });
});

test("mmlu has a row a subject, in the order in which they first come", async (t) => {
  const context = (subject: string): string =>
    `The following are multiple choice questions (with answers) about ${subject}.\n\nQ?\nA. x\nAnswer:`;
  const rows = [
    { context: context("abstract algebra"), pred: "B", gt: "B" },
    { context: context("anatomy"), pred: " A.", gt: "A" },
    { context: context("abstract algebra"), pred: "Both", gt: "B" },
  ];
  const { groups, figures, counts } = await mmlu.score(rows, { compat: ours, set: "mmlu" });
  t.deepEqual(
    groups.map(({ name, right, rows: all }) => [name, right, all]),
    [
      ["abstract algebra", 1, 2],
      ["anatomy", 1, 1],
    ],
  );
  t.true(near(figures[0]?.value, 200 / 3));
  t.is(counts["no letter"], 1);
  const original = await mmlu.score(rows, { compat: new Set(["scorer"] as const), set: "mmlu" });
  t.true(near(original.figures[0]?.value, 100 / 3));
});

test("e2e has every measure, with all references of a meaning, and METEOR says which stages ran", async (t) => {
  const gts = ["The Mill serves cheap Italian food.", "Cheap Italian food is served at The Mill."];
  const rows = [
    ...gts.map((gt) => ({ context: "name[The Mill]", pred: gts[0] ?? "", gt })),
    {
      context: "name[Zizzi]",
      pred: "Zizzi is a pub by the river.",
      gt: "Zizzi is a riverside pub.",
    },
  ];
  const { figures, items, remarks } = await e2e.score(rows, { compat: ours, set: "e2e_nlg" });
  t.is(items, 2);
  t.true(figures.every(({ value }) => value !== undefined && value > 0));
  t.deepEqual(
    figures.flatMap(({ key, isPlain }) => (isPlain ? [key] : [])),
    ["NIST", "CIDEr"],
  );
  t.regex(remarks.join(" "), /METEOR matched words by letters and stems, without WordNet/);
});
