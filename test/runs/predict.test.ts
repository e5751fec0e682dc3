import test from "ava";
import { findSingleDataset } from "../../src/datasets/registry.js";
import { defaultDecodeSettings } from "../../src/decode/settings.js";
import { decodeSettingsOf } from "../../src/runs/predict.js";
import type { PredictionSettings } from "../../src/runs/prediction-settings.js";

const settings: PredictionSettings = {
  batch: 16,
  beamSize: undefined,
  maxNewTokens: undefined,
  doSample: false,
  decoding: "default",
  temperature: 0.1,
  topK: 40,
  topP: 0.75,
  seed: undefined,
  limit: undefined,
  dataDir: undefined,
  useInput: false,
  datasetRatio: 1,
  numWorkers: 0,
  threads: undefined,
  compat: new Set(),
};
const ends = { eosIds: [2], padId: 3 };
const of = (dataset: string, changes: Partial<PredictionSettings> = {}) =>
  decodeSettingsOf(findSingleDataset(dataset), { ...settings, ...changes }, ends);

test("decodeSettingsOf takes the set's own way where no flag says otherwise", (t) => {
  t.deepEqual(of("boolq"), {
    ...defaultDecodeSettings,
    ...ends,
    numBeams: 4,
    maxNewTokens: 16,
    lengthPenalty: 1,
    noRepeatNgramSize: 0,
    doSample: false,
  });
  t.is(of("common_170k").numBeams, 1);
});

test("decodeSettingsOf lets --beam_size and --max_new_tokens act on the single sets", (t) => {
  const { numBeams, maxNewTokens } = of("piqa", { beamSize: 2, maxNewTokens: 5 });
  t.deepEqual([numBeams, maxNewTokens], [2, 5]);
});

test("decodeSettingsOf gives temperature, top-k and top-p to sampling alone", (t) => {
  const { numBeams, doSample, temperature, topK, topP } = of("boolq", { doSample: true });
  t.deepEqual([numBeams, doSample, temperature, topK, topP], [4, true, 0.1, 40, 0.75]);
  t.is(of("boolq").temperature, defaultDecodeSettings.temperature);
});

test("decodeSettingsOf leaves common_170k greedy, whatever the flags", (t) => {
  t.deepEqual(of("common_170k", { beamSize: 4, doSample: true }), of("common_170k"));
});

test("decodeSettingsOf makes every set greedy with --decoding=greedy", (t) => {
  const { numBeams, doSample } = of("boolq", { decoding: "greedy", beamSize: 4, doSample: true });
  t.deepEqual([numBeams, doSample], [1, false]);
});
