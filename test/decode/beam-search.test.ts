import { fileURLToPath } from "node:url";
import test from "ava";
import { randomStream } from "../../src/core/random.js";
import { beamSearch } from "../../src/decode/beam-search.js";
import type { CandidateRow } from "../../src/decode/search.js";
import { defaultDecodeSettings } from "../../src/decode/settings.js";
import { checkGoldenCase, readBeamGoldens } from "../support/beam-goldens.js";
import { plainLlama } from "../support/plain-llama.js";

const fixture = (name: string): string =>
  fileURLToPath(new URL(`../fixtures/decode/${name}`, import.meta.url));

for (const earlyStopping of [false, true, "never"] as const) {
  test(`beamSearch gives transformers' tokens and scores with earlyStopping ${String(earlyStopping)}, one eos and two, and length penalties from -0.5 to 2`, async (t) => {
    const engine = plainLlama(fixture("tiny-llama"));
    const cases = readBeamGoldens(fixture("beam_cases.json")).filter(
      ({ settings }) => settings.earlyStopping === earlyStopping,
    );
    t.true(cases.length >= 30);
    for (const golden of cases) await checkGoldenCase(t, engine, golden);
  });
}

test("beamSearch gives transformers' tokens and scores with more beams than columns, and than tokens in the vocabulary (9.8)", async (t) => {
  const engine = plainLlama(fixture("tiny-llama"));
  const cases = readBeamGoldens(fixture("wide_beam_cases.json"));
  t.true(cases.some(({ settings }) => settings.numBeams > engine.vocabularySize));
  for (const golden of cases) await checkGoldenCase(t, engine, golden);
});

const settings = {
  ...defaultDecodeSettings,
  numBeams: 2,
  numReturnSequences: 2,
  maxNewTokens: 4,
  eosIds: [0],
  padId: 0,
};
const row = (probabilities: readonly number[]): CandidateRow => {
  const ids = probabilities.map((_, id) => id);
  ids.sort((a, b) => probabilities[b]! - probabilities[a]!);
  return {
    ids: Int32Array.from(ids),
    logProbs: Float32Array.from(ids, (id) => Math.log(probabilities[id]!)),
    normalizer: 0,
  };
};
const prompt = { ids: [5, 6] };
const stream = (step: number) => randomStream(1, "test", step);

test("beamSearch takes an ending as a result only from the best numBeams offers", (t) => {
  const search = beamSearch(prompt, { ...settings, numReturnSequences: 1 }, stream);
  // The ending is third of the offers: it is neither a result nor goes on.
  const next = search.advance(() => row([0.2, 0.45, 0.35]));
  t.deepEqual(next, { tokens: [1, 2], parents: [0, 0] });
  for (let step = 0; step < 3; step++) search.advance(() => row([1e-9, 0.9, 0.1]));
  t.deepEqual(search.results()[0], {
    tokens: [1, 1, 1, 1],
    score: search.results()[0]!.score,
    stoppedBy: "length",
  });
});

test("beamSearch goes on with the beams that did not end, and says whom each continues", (t) => {
  const search = beamSearch(prompt, settings, stream);
  t.deepEqual(
    search.advance(() => row([0.1, 0.5, 0.4])),
    { tokens: [1, 2], parents: [0, 0] },
  );
  const rows = [row([0.9, 0.06, 0.04]), row([0.05, 0.35, 0.6])];
  t.deepEqual(
    search.advance((beam) => rows[beam]!),
    { tokens: [2, 1], parents: [1, 1] },
  );
});

test("beamSearch with earlyStopping true ends when numBeams sequences have", (t) => {
  const search = beamSearch(prompt, { ...settings, earlyStopping: true }, stream);
  t.truthy(search.advance(() => row([0.6, 0.3, 0.1])));
  t.is(
    search.advance(() => row([0.8, 0.1, 0.1])),
    undefined,
  );
  t.deepEqual(
    search.results().map(({ tokens, stoppedBy }) => ({ tokens, stoppedBy })),
    [
      { tokens: [0], stoppedBy: "eos" },
      { tokens: [1, 0], stoppedBy: "eos" },
    ],
  );
});

test("beamSearch asks for as many more candidates as a beam has banned tokens", (t) => {
  const search = beamSearch({ ids: [1, 2, 1] }, { ...settings, noRepeatNgramSize: 2 }, stream);
  t.is(search.wanted, 4 + 1);
  t.deepEqual(search.advance(() => row([0.1, 0.2, 0.5, 0.2]))?.tokens, [1, 3]);
});

test("beamSearch returns what it has when every token is banned", (t) => {
  const search = beamSearch({ ids: [0, 1, 2] }, { ...settings, noRepeatNgramSize: 1 }, stream);
  t.is(
    search.advance(() => row([0.2, 0.5, 0.3])),
    undefined,
  );
  t.deepEqual(search.results()[0]?.tokens, []);
});

test("beam sampling draws different continuations, ranked by score", (t) => {
  const sampled = { ...settings, doSample: true, topK: 9 };
  const seen = new Set<string>();
  for (let seed = 0; seed < 50; seed++) {
    const search = beamSearch(prompt, sampled, (step) => randomStream(seed, "test", step));
    const even = [0.01, 0.16, 0.15, 0.14, 0.13, 0.12, 0.11, 0.1, 0.08];
    const [first, second] = search.advance(() => row(even))!.tokens;
    t.true(first! < second!, "the more probable first, and no token twice");
    seen.add(String([first, second]));
  }
  t.true(seen.size > 5);
});

test("beam sampling keeps two tokens of a beam although the first has all the probability", (t) => {
  const search = beamSearch(prompt, { ...settings, doSample: true, topK: 1 }, stream);
  t.is(search.wanted, 2);
  const next = search.advance(() => row([0.98, 0.015, 0.005]));
  // The ending is a result; the second token goes on, twice: the beams still share the prompt.
  t.deepEqual(next?.tokens, [1, 1]);
});
