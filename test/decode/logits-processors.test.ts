import { readFileSync } from "node:fs";
import test from "ava";
import {
  allowedCandidates,
  bannedByNgrams,
  ngramHistory,
  orderById,
  warp,
} from "../../src/decode/logits-processors.js";
import { defaultDecodeSettings } from "../../src/decode/settings.js";

test("bannedByNgrams bans what would complete an n-gram seen before", (t) => {
  t.deepEqual([...bannedByNgrams([1, 2, 3, 1, 2], 3)], [3]);
  t.deepEqual([...bannedByNgrams([1, 2, 3, 1, 2, 4, 1, 2], 3)], [3, 4]);
  t.deepEqual([...bannedByNgrams([1, 2, 3, 4], 3)], []);
  t.deepEqual([...bannedByNgrams([7, 7], 2)], [7]);
});

test("bannedByNgrams of size 1 bans every token seen, of size 0 none", (t) => {
  t.deepEqual([...bannedByNgrams([4, 5, 4], 1)], [4, 5]);
  t.deepEqual([...bannedByNgrams([4, 5, 4], 0)], []);
});

test("bannedByNgrams bans nothing while the text is shorter than the n-gram", (t) => {
  t.deepEqual([...bannedByNgrams([4, 4], 3)], []);
  t.deepEqual([...bannedByNgrams([], 2)], []);
});

test("ngramHistory puts the row's own padding before its prompt", (t) => {
  t.deepEqual(ngramHistory({ ids: [8, 9], paddingColumns: 2 }, 3), [3, 3, 8, 9]);
  t.deepEqual(ngramHistory({ ids: Int32Array.of(8, 9) }, 3), [8, 9]);
});

test("allowedCandidates skips banned ids and stops at the limit", (t) => {
  const row = { ids: Int32Array.of(5, 6, 7, 8), logProbs: Float32Array.of(-1, -2, -3, -4) };
  const allowed = allowedCandidates(row, new Set([5, 7]), 1);
  t.deepEqual([...allowed.ids], [6]);
  t.deepEqual([...allowed.scores], [-2]);
  t.deepEqual([...allowedCandidates(row, new Set([5, 7]), Infinity).ids], [6, 8]);
});

interface WarperCase {
  readonly temperature: number;
  readonly top_k: number;
  readonly top_p: number;
  readonly fewest: number;
  readonly log_probs: readonly number[];
  readonly kept: readonly number[];
  readonly scores: readonly number[];
}

test("warp keeps the tokens and scores of transformers' warpers", (t) => {
  const path = new URL("../fixtures/decode/warper_cases.json", import.meta.url);
  const { cases } = JSON.parse(readFileSync(path, "utf8")) as { cases: readonly WarperCase[] };
  t.is(cases.length, 108);
  for (const stored of cases) {
    const ids = Int32Array.from(stored.log_probs.keys()).sort(
      (a, b) => stored.log_probs[b]! - stored.log_probs[a]!,
    );
    const scores = Float64Array.from(ids, (id) => stored.log_probs[id]!);
    const { temperature, top_k: topK, top_p: topP, fewest } = stored;
    const survivors = orderById(
      warp(
        { ids, scores },
        {
          ...defaultDecodeSettings,
          temperature,
          topK,
          topP,
          // One beam keeps one token at least; several beams one more than there are eos ids.
          numBeams: fewest === 1 ? 1 : 4,
          eosIds: Array.from({ length: fewest - 1 }, (_, i) => i),
          padId: 0,
        },
      ),
    );
    t.deepEqual([...survivors.ids], [...stored.kept], JSON.stringify(stored));
    stored.scores.forEach((score, i) => {
      t.true(Math.abs(survivors.scores[i]! - score) < 2e-5);
    });
  }
});
