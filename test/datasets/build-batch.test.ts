import test from "ava";
import { buildBatch, measurePadding, trainingLayout } from "../../src/datasets/build-batch.js";
import type { EncodedRow } from "../../src/datasets/encoded-rows.js";
import { countLabels } from "../../src/datasets/encoded-rows.js";

const row = (
  number: number,
  ids: number[],
  contextLength: number,
  rest: { labels?: number[]; attentionMask?: number[] } = {},
): EncodedRow => ({
  row: number,
  ids: Int32Array.from(ids),
  contextLength,
  labels: rest.labels && Int32Array.from(rest.labels),
  attentionMask: rest.attentionMask && Uint8Array.from(rest.attentionMask),
});
const padId = 9;

test("buildBatch pads contexts on the left and targets on the right, to the longest of each", (t) => {
  const rows = [row(4, [1, 2, 3, 11], 3), row(7, [5, 12, 13], 1)];
  const batch = buildBatch(rows, { layout: { kind: "context-target" }, padId });
  t.deepEqual(
    { ...batch, inputIds: [...batch.inputIds].map(Number) },
    {
      rows: [4, 7],
      batch: 2,
      seq: 5,
      inputIds: [1, 2, 3, 11, 9, 9, 9, 5, 12, 13],
      attentionMask: Uint8Array.of(1, 1, 1, 1, 0, 0, 0, 1, 1, 1),
      labels: Int32Array.of(-100, -100, -100, 11, -100, -100, -100, -100, 12, 13),
      tokens: 7,
      labelledTokens: 3,
    },
  );
});

test("buildBatch has the original's 256 + 16 columns under compat", (t) => {
  const layout = trainingLayout({ maxContextTokens: 256, maxTargetTokens: 16 }, new Set(["pad"]));
  const batch = buildBatch([row(0, [1, 2, 11], 2)], { layout, padId });
  t.is(batch.seq, 272);
  t.deepEqual([...batch.inputIds.subarray(253, 258)].map(Number), [9, 1, 2, 11, 9]);
  t.is(batch.attentionMask.indexOf(1), 254);
  t.is(batch.labels[256], 11);
  t.throws(() => buildBatch([row(0, Array<number>(300).fill(1), 290)], { layout, padId }), {
    instanceOf: RangeError,
    message: /290 \+ 10 tokens, expected at most 256 \+ 16/,
  });
});

test("buildBatch takes pre-tokenized rows as given and pads them on the right", (t) => {
  const rows = [
    row(0, [1, 2, 3], 0, { labels: [1, -100, 3], attentionMask: [0, 1, 1] }),
    row(1, [4, 5], 1, { labels: [-100, 5] }),
  ];
  const batch = buildBatch(rows, { layout: { kind: "right-padded" }, padId });
  t.deepEqual([...batch.inputIds].map(Number), [1, 2, 3, 4, 5, 9]);
  t.deepEqual([...batch.attentionMask], [0, 1, 1, 1, 1, 0]);
  t.deepEqual([...batch.labels], [1, -100, 3, -100, 5, -100]);
  t.is(batch.tokens, 4);
  t.is(batch.labelledTokens, 2); // the label of column 0 has nothing before it
});

test("buildBatch uses a row's own labels", (t) => {
  const rows = [row(0, [1, 2, 3], 1, { labels: [-100, -100, 3] })];
  const batch = buildBatch(rows, { layout: { kind: "context-target" }, padId });
  t.deepEqual([...batch.labels], [-100, -100, 3]);
  t.is(batch.labelledTokens, 1);
});

test("buildBatch refuses no rows", (t) => {
  t.throws(() => buildBatch([], { layout: { kind: "right-padded" }, padId }), {
    instanceOf: RangeError,
  });
});

test("measurePadding counts what buildBatch builds", (t) => {
  const rows = [
    row(0, [1, 2, 3, 4], 2),
    row(1, [1, 2], 1, { labels: [-100, 2], attentionMask: [0, 1] }),
    row(2, [1, 2, 3], 1),
  ];
  const plan = [[0, 2], [1]];
  for (const layout of [{ kind: "context-target" }, { kind: "right-padded" }] as const) {
    const batches = plan.map((indices) =>
      buildBatch(
        indices.flatMap((i) => rows[i] ?? []),
        { layout, padId },
      ),
    );
    const sum = (part: (batch: (typeof batches)[number]) => number): number =>
      batches.reduce((total, batch) => total + part(batch), 0);
    t.deepEqual(measurePadding(rows, plan, layout), {
      tokens: sum((batch) => batch.tokens),
      labelledTokens: sum((batch) => batch.labelledTokens),
      columns: sum((batch) => batch.batch * batch.seq),
      batches: 2,
    });
  }
});

test("countLabels does not count position 0", (t) => {
  t.is(countLabels(row(0, [1, 2, 3], 0)), 2);
  t.is(countLabels(row(0, [1, 2, 3], 2)), 1);
  t.is(countLabels(row(0, [1, 2], 0, { labels: [1, -100] })), 0);
});
