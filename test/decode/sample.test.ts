import test from "ava";
import { randomStream } from "../../src/core/random.js";
import { drawDistinct, sampleTokens } from "../../src/decode/sample.js";
import type { CandidateRow } from "../../src/decode/search.js";
import { defaultDecodeSettings } from "../../src/decode/settings.js";

const probabilities = [0.5, 0.3, 0.2];
const scores = Float64Array.from(probabilities, Math.log);
const row = (): CandidateRow => ({
  ids: Int32Array.of(4, 5, 6),
  logProbs: Float32Array.from(scores),
  normalizer: 0,
});
const settings = { ...defaultDecodeSettings, maxNewTokens: 3, eosIds: [6], padId: 9 };

test("drawDistinct draws pairs as often as drawing one after the other would", (t) => {
  const draws = 20000;
  const counts = new Map<string, number>();
  for (let step = 0; step < draws; step++) {
    const pair = drawDistinct(scores, 2, randomStream(3, "pairs", step)).join();
    counts.set(pair, (counts.get(pair) ?? 0) + 1);
  }
  probabilities.forEach((p, i) => {
    probabilities.forEach((q, j) => {
      if (i === j) return;
      const expected = (p * q) / (1 - p);
      const found = (counts.get(`${String(i)},${String(j)}`) ?? 0) / draws;
      // Four standard deviations.
      t.true(Math.abs(found - expected) < 4 * Math.sqrt((expected * (1 - expected)) / draws));
    });
  });
});

test("drawDistinct falls back to the best of those whose weight vanished, never to -Infinity", (t) => {
  const stream = randomStream(0, "rest");
  t.deepEqual(drawDistinct(Float64Array.of(-Infinity, 0, -2e9, -1e9), 9, stream), [1, 3, 2]);
  t.deepEqual(drawDistinct(Float64Array.of(-Infinity), 1, stream), []);
});

test("drawDistinct draws the same from scores that differ by a constant", (t) => {
  const moved = scores.map((score) => score - 700);
  t.deepEqual(
    drawDistinct(scores, 3, randomStream(1, "shift")),
    drawDistinct(moved, 3, randomStream(1, "shift")),
  );
});

test("sampleTokens without sampling takes the best token until the length", (t) => {
  const search = sampleTokens({ ids: [1] }, settings, []);
  t.is(search.wanted, 1);
  t.deepEqual(search.advance(row), { tokens: [4], parents: [0] });
  t.deepEqual(search.advance(row), { tokens: [4], parents: [0] });
  t.is(search.advance(row), undefined);
  const [found] = search.results();
  t.deepEqual(found?.tokens, [4, 4, 4]);
  t.is(found?.stoppedBy, "length");
  t.true(Math.abs(found!.score - Math.log(0.5)) < 1e-6);
});

test("sampleTokens stops at any eos and keeps it", (t) => {
  const search = sampleTokens({ ids: [1] }, { ...settings, eosIds: [6, 4] }, []);
  t.is(search.advance(row), undefined);
  t.like(search.results()[0], { tokens: [4], stoppedBy: "eos" });
});

test("sampleTokens does not repeat an n-gram of the prompt", (t) => {
  const ngram = { ...settings, noRepeatNgramSize: 2 };
  const search = sampleTokens({ ids: [1, 4, 1] }, ngram, []);
  t.is(search.wanted, 2);
  t.deepEqual(search.advance(row)?.tokens, [5]);
});

test("sampleTokens samples each of several texts by its own random numbers", (t) => {
  const several = { ...settings, doSample: true, numReturnSequences: 400, eosIds: [] };
  const streams = Array.from(
    { length: 400 },
    (_, text) => (step: number) => randomStream(7, `text ${String(text)}`, step),
  );
  const search = sampleTokens({ ids: [1] }, several, streams);
  t.is(search.wanted, Infinity);
  const first = search.advance(row)!;
  t.deepEqual(first.parents, Array(400).fill(0));
  const share = first.tokens.filter((token) => token === 4).length / 400;
  t.true(Math.abs(share - 0.5) < 0.1);
  t.deepEqual(
    search.advance(row)?.parents,
    Array.from({ length: 400 }, (_, i) => i),
  );
});

test("sampleTokens feeds padding to a text that has ended while others go on", (t) => {
  const two = { ...settings, doSample: true, numReturnSequences: 2, topK: 3 };
  const fixed = (u: number) => () => ({ ...randomStream(0, ""), uniform: () => u });
  const search = sampleTokens({ ids: [1] }, two, [fixed(0.99), fixed(0)]);
  t.deepEqual(search.advance(row), { tokens: [9, 4], parents: [0, 0] });
  search.advance(row);
  t.is(search.advance(row), undefined);
  t.deepEqual(
    search.results().map(({ tokens, stoppedBy }) => ({ tokens, stoppedBy })),
    [
      { tokens: [6], stoppedBy: "eos" },
      { tokens: [4, 4, 4], stoppedBy: "length" },
    ],
  );
});
