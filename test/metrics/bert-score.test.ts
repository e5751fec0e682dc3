import { readFileSync } from "node:fs";
import test from "ava";
import { bertScoreOfPair, type EncodedText } from "../../src/metrics/bert-score.js";

/** As scripts/reference/bert_score_cases.py has them. */
const encode = (tokens: number, width: number, seed: number): EncodedText => {
  let state = seed;
  const vectors = Float32Array.from({ length: tokens * width }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (((state >>> 16) % 2001) - 1000) / 1000;
  });
  const weights = Array.from({ length: tokens }, (_, i) => (i === 0 || i === tokens - 1 ? 0 : 1));
  return { vectors, width, weights };
};

test("bertScoreOfPair matches tokens as bert-score does; a text of nothing but its ends has 0", (t) => {
  const path = new URL("../fixtures/metrics/bert-score.json", import.meta.url);
  const rows = JSON.parse(readFileSync(path, "utf8")) as number[][];
  t.is(rows.length, 7);
  for (const [tokens = 0, others = 0, width = 0, seed = 0, ...expected] of rows) {
    const { precision, recall, f1 } = bertScoreOfPair(
      encode(tokens, width, seed),
      encode(others, width, 100 + seed),
    );
    for (const [i, value] of [precision, recall, f1].entries())
      t.true(
        Math.abs(value - (expected[i] ?? NaN)) < 2e-7,
        `seed ${String(seed)}: ${String(value)}`,
      );
  }
});
