import test from "ava";
import { Graph } from "../../src/graph/graph.js";
import { goalOn, isReached, processorKindOf } from "../../scripts/bench/goals.js";
import { roundUp, shapesPlot } from "../../scripts/bench/shapes-plot.js";
import { padAsOriginal, shuffleRows } from "../../scripts/bench/step-batches.js";
import { productFlops, sizesOf } from "../../scripts/bench/step-flops.js";
import { summarizePairs, takeTurns, type Sample } from "../../scripts/bench/turns.js";

const samples = (...times: readonly (readonly [number, number])[]): (() => Promise<Sample>) => {
  let next = 0;
  return () => {
    const [milliseconds, othersCores] = times[next++] ?? [NaN, 0];
    return Promise.resolve({ milliseconds, othersCores });
  };
};

test("takeTurns divides each sample of the second by the mean of its neighbours, and takes the median", async (t) => {
  const ours = samples([10, 0], [10, 0], [20, 0], [20, 0]);
  const theirs = samples([30, 0], [30, 0], [30, 0]);
  t.deepEqual(await takeTurns(ours, theirs, { rounds: 3 }), {
    ratio: 2,
    spread: [1.5, 3],
    firstMs: 15,
    secondMs: 30,
    pairs: 3,
    disturbed: 0,
    leftOut: 0,
  });
});

test("takeTurns measures a disturbed pair again, and leaves it out where two quiet ones were had", async (t) => {
  const ours = samples([10, 0], [10, 0], [10, 0], [10, 0]);
  const theirs = samples([20, 0], [90, 0.5], [22, 0]);
  const result = await takeTurns(ours, theirs, { rounds: 2 });
  t.is(result.pairs, 2);
  t.is(result.leftOut, 1);
  t.deepEqual(result.spread, [2, 2.2]);
});

test("takeTurns gives up repeating, and says how many of its pairs are disturbed", async (t) => {
  const busy = (): Promise<Sample> => Promise.resolve({ milliseconds: 10, othersCores: 1 });
  const result = await takeTurns(busy, busy, { rounds: 2, repeats: 1 });
  t.is(result.pairs, 3);
  t.is(result.disturbed, 3);
});

test("summarizePairs keeps a disturbed pair beside a single quiet one", (t) => {
  const at = (milliseconds: number, othersCores: number): Sample => ({ milliseconds, othersCores });
  const quiet = { before: at(10, 0), second: at(20, 0), after: at(10, 0) };
  const { pairs, disturbed } = summarizePairs([quiet, { ...quiet, second: at(40, 1) }]);
  t.deepEqual([pairs, disturbed], [2, 1]);
});

test("goalOn and isReached know the kind of processor, and which way a case counts", (t) => {
  t.is(processorKindOf(["avx512_bf16", "amx_bf16"]), "amx");
  t.is(processorKindOf(["avx512_bf16"]), "avx512_bf16");
  t.is(processorKindOf(["avx2"]), "other");
  const [speed, memory] = [
    "real batches against the original",
    "peak memory of real batches over the original's",
  ] as const;
  t.is(goalOn(speed, "amx"), 10);
  t.is(goalOn(speed, "avx512_bf16"), 6);
  t.is(goalOn(speed, "other"), null);
  t.true(isReached(speed, 6.1, "avx512_bf16"));
  t.false(isReached(memory, 0.5, "amx"));
  t.true(isReached(memory, 0.4, "amx"));
  t.is(isReached(speed, 6.1, "other"), null);
});

/** Contexts left, targets right of one line. */
const batch = {
  input_ids: [
    [0, 0, 1, 2, 9, 8],
    [3, 4, 5, 6, 7, 0],
  ],
  attention_mask: [
    [0, 0, 1, 1, 1, 1],
    [1, 1, 1, 1, 1, 0],
  ],
  labels: [
    [-100, -100, -100, -100, 9, 8],
    [-100, -100, -100, -100, 7, -100],
  ],
};

test("shuffleRows keeps every row, and pads each batch to its own longest context and target", (t) => {
  const shuffled = shuffleRows([{ step: 1, batches: [batch] }], 0);
  const [found] = shuffled[0]?.batches ?? [];
  const texts = (rows: readonly (readonly number[])[]): string[] => rows.map(String).sort();
  t.deepEqual(texts(found?.input_ids ?? []), texts(batch.input_ids));
  t.deepEqual(texts(found?.labels ?? []), texts(batch.labels));
  const single = { input_ids: [batch.input_ids[0] ?? []], attention_mask: [[0, 0, 1, 1, 1, 1]] };
  const [narrow] =
    shuffleRows([{ step: 1, batches: [{ ...single, labels: [batch.labels[0] ?? []] }] }], 0)[0]
      ?.batches ?? [];
  t.deepEqual(narrow?.input_ids, [[1, 2, 9, 8]]);
});

test("padAsOriginal widens a batch to 256 and 16 columns", (t) => {
  const wide = padAsOriginal(batch, 0);
  t.is(wide.input_ids[0]?.length, 272);
  t.deepEqual(wide.input_ids[1]?.slice(252, 258), [3, 4, 5, 6, 7, 0]);
  t.is(wide.labels[1]?.[256], 7);
});

test("productFlops counts 2 m n k of every product, with the sizes of a batch", (t) => {
  const g = new Graph();
  const x = g.input("x", "float32", ["batch", "seq", 6]);
  const w = g.weight("w", "float32", [5, 6]);
  const y = g.matmul(g.reshape(x, ["batch*seq", 6]), w, { transB: true });
  g.output("z", g.matmul(y, y, { transA: true }));
  const sizes = { batch: 2, seq: 4 };
  t.is(productFlops(g, sizes), 2 * 8 * 5 * 6 + 2 * 5 * 5 * 8);
});

test("sizesOf knows the chunks of labels and the blocks of long rows", (t) => {
  const options = { adapter: undefined, chunks: 2, maxPositions: 300 };
  const { chunk0, chunk1, block0, block1, block2 } = sizesOf(options, {
    ...{ batch: 1, seq: 300, labels: 5 },
  });
  t.deepEqual([chunk0, chunk1], [2, 3]);
  t.deepEqual([block0, block1, block2], [128, 128, 44]);
});

test("shapesPlot draws every point of both panels, within its axis", (t) => {
  t.deepEqual([0.7, 1, 13, 4].map(roundUp), [1, 1, 20, 5]);
  const point = (batch: number, length: number, msPerToken: number) => ({
    ...{ batch, length, msPerToken, boundMsPerToken: 1 },
  });
  const svg = shapesPlot(
    [point(1, 128, 3), point(1, 256, 4)],
    [point(1, 128, 3), point(2, 128, 2.5), point(4, 128, 2)],
    "a machine",
  );
  t.is(svg.match(/<circle/g)?.length, 5);
  t.is(svg.match(/<polyline/g)?.length, 4);
  for (const [, y = ""] of svg.matchAll(/<circle cx="[\d.]+" cy="([\d.]+)"/g))
    t.true(Number(y) >= 56 && Number(y) <= 304, y);
});
