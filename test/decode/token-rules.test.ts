import { readFileSync } from "node:fs";
import test from "ava";
import { followGenerationConfig } from "../../src/decode/generation-settings.js";
import { orderById, type ScoredTokens } from "../../src/decode/logits-processors.js";
import type { CandidateRow } from "../../src/decode/search.js";
import { defaultDecodeSettings, type DecodeSettings } from "../../src/decode/settings.js";
import { survivingTokens, tokenRules } from "../../src/decode/token-rules.js";
import { readGenerationConfig } from "../../src/models/generation-config.js";

interface ProcessorCase {
  readonly fields: Readonly<Record<string, unknown>>;
  readonly eos: readonly number[];
  readonly padding: number;
  readonly prompt: readonly number[];
  readonly new_tokens: readonly number[];
  readonly max_new_tokens: number;
  readonly logits: readonly number[];
  readonly kept: readonly number[];
  readonly scores: readonly number[];
}

const fixture = new URL("../fixtures/decode/processor_cases.json", import.meta.url);
const { cases } = JSON.parse(readFileSync(fixture, "utf8")) as { cases: readonly ProcessorCase[] };

const logSum = (scores: Float64Array): number => {
  const best = Math.max(...scores);
  return best + Math.log(scores.reduce((sum, score) => sum + Math.exp(score - best), 0));
};

/** The `width` best candidates of these logits. */
const rowOf = (logits: readonly number[], width: number): CandidateRow => {
  const normalizer = logSum(Float64Array.from(logits));
  const order = [...logits.keys()].sort((a, b) => logits[b]! - logits[a]!).slice(0, width);
  return {
    ids: Int32Array.from(order),
    logProbs: Float32Array.from(order, (id) => logits[id]! - normalizer),
    normalizer,
  };
};

const settingsOf = (stored: ProcessorCase): DecodeSettings => {
  const own = { ...defaultDecodeSettings, eosIds: stored.eos, padId: 3 };
  const file = readGenerationConfig(
    { max_new_tokens: stored.max_new_tokens, ...stored.fields },
    "generation_config.json",
  );
  return followGenerationConfig(own, file, { given: new Set(), vocabularySize: 20 }).settings;
};

const survivorsOf = (stored: ProcessorCase, width: number, limit: number): ScoredTokens => {
  const settings = settingsOf(stored);
  const prompt = {
    ids: stored.prompt,
    paddingColumns: stored.padding,
  };
  const rules = tokenRules(prompt, settings).after(stored.new_tokens);
  return survivingTokens(rowOf(stored.logits, width), rules, settings, limit);
};

const modes = { "one beam": 1, "three beams": 3 };
for (const [mode, beams] of Object.entries(modes))
  for (const samples of [false, true])
    test(`survivingTokens keeps the tokens and scores of transformers' processors with ${mode}${samples ? ", sampling" : ""} (9.5)`, (t) => {
      const ours = cases.filter(
        ({ fields }) =>
          (fields.num_beams ?? 1) === beams && (fields.do_sample === true) === samples,
      );
      t.true(ours.length >= 60);
      for (const stored of ours) {
        const name = JSON.stringify(stored);
        const found = orderById(survivorsOf(stored, 20, 20));
        t.deepEqual([...found.ids], [...stored.kept], name);
        // With one beam only differences between scores count.
        const [a, b] =
          beams === 1 ? [logSum(found.scores), logSum(Float64Array.from(stored.scores))] : [0, 0];
        stored.scores.forEach((score, i) => {
          const difference = Math.abs(found.scores[i]! - a - (score - b));
          t.true(difference <= 2e-5 * Math.max(1, Math.abs(score)), name);
        });
      }
    });

test("StepRules ask for as many candidates as the best tokens need (9.5)", (t) => {
  for (const stored of cases) {
    const settings = settingsOf(stored);
    if (settings.doSample || settings.renormalizeLogits) continue;
    const prompt = { ids: stored.prompt, paddingColumns: stored.padding };
    const { extra } = tokenRules(prompt, settings).after(stored.new_tokens);
    const few = survivorsOf(stored, Math.min(20, 3 + extra), 3);
    t.deepEqual(few, survivorsOf(stored, 20, 3), JSON.stringify(stored));
  }
});

test("tokenRules leave log-probabilities as they are where no rule multiplies (9.5)", (t) => {
  const settings = { ...defaultDecodeSettings, eosIds: [2], padId: 0, suppressTokens: [0] };
  const row = rowOf([5, 4, 3], 3);
  const { ids, scores } = tokenRules({ ids: [1] }, settings)
    .after([])
    .apply(row, 9);
  t.deepEqual([...ids], [1, 2]);
  t.deepEqual([...scores], [...row.logProbs.subarray(1)]);
});
