import { join } from "node:path";
import test from "ava";
import type { Compat } from "../../src/core/compat.js";
import { analyseDataset, formatAnalysis, summariseLengths } from "../../src/datasets/analysis.js";
import type { AnalysedSplit, DatasetAnalysis } from "../../src/datasets/analysis.js";
import { encodeTrainingRows } from "../../src/datasets/encode-rows.js";
import { loadSplit } from "../../src/datasets/load-split.js";
import { findSingleDataset } from "../../src/datasets/registry.js";
import type { Split } from "../../src/datasets/rows.js";
import { loadTokenizer } from "../../src/tokenizer/load-tokenizer.js";
import { testWithShared } from "../support/shared.js";

/** Contexts of a token a letter, cut at `limit`; targets of two tokens. */
const made = (contexts: readonly string[], limit = 20): AnalysedSplit => ({
  path: "made-up",
  rows: contexts.map((context) => ({ context, target: "t" })),
  encoded: {
    rows: contexts.map((context, row) => ({
      row,
      ids: new Int32Array(Math.min(limit, context.length) + 2),
      contextLength: Math.min(limit, context.length),
    })),
    cutContexts: contexts.flatMap((context, row) => (context.length > limit ? [row] : [])),
    cutTargets: [],
    unlabelled: [],
    wholeLengths: contexts.map((context) => ({ context: context.length, target: 2 })),
  },
});

test("analyseDataset finds rows that stand in two splits and rows that a limit cuts", (t) => {
  const analysis = analyseDataset(
    {
      train: made(["aa", "bbbbbb", "cc"], 4),
      validation: made(["dd", "aa"]),
      test: made(["cc", "ee", "aa"]),
    },
    { batch: 2, limits: { context: 4, target: 16 } },
  );
  t.deepEqual(analysis.testRowsInTrain, [0, 2]);
  t.deepEqual(analysis.validationRowsInTrain, [1]);
  t.false(analysis.validationIsTest);
  t.is(analysis.padding.tokens, 14);
  t.is(analysis.padding.fixed, 60);
  t.is(analysis.splits[0]?.context.max, 6);
  t.is(analysis.splits[0]?.whole.max, 8);
  const text = formatAnalysis("made-up", analysis);
  t.regex(text, /^train: 1 \(33\.3%\) contexts over 4 tokens, cut .*\n {2}row 2$/m);
  t.regex(text, /^train: no targets over 16 tokens$/m);
  t.regex(text, /^test: 2 \(66\.7%\) contexts that train has too\n {2}rows 1, 3$/m);
  t.regex(text, /^train +3$/m);
});

test("analyseDataset says when validation is test, and that it would choose a run's checkpoints, not that it does (9.36)", (t) => {
  const same = made(["x", "y"]);
  const analysis = analyseDataset(
    { train: made(["a"]), validation: same, test: same },
    { batch: 2, limits: { context: 4, target: 16 } },
  );
  t.true(analysis.validationIsTest);
  t.regex(
    formatAnalysis("made-up", analysis),
    /^validation: the same rows as test, which would choose among a run's checkpoints$/m,
  );
});

test("summariseLengths interpolates between ranks, as numpy does", (t) => {
  t.deepEqual(summariseLengths([4, 1, 3, 2]), {
    mean: 2.5,
    min: 1,
    median: 2.5,
    p90: 1 + 0.9 * 3,
    p95: 1 + 0.95 * 3,
    p99: 1 + 0.99 * 3,
    max: 4,
  });
});

const analyse = async (shared: string, name: string, compat: Compat): Promise<DatasetAnalysis> => {
  const tokenizer = await loadTokenizer(join(shared, "tokenizers/smollm2-135m-instruct"));
  const dataset = findSingleDataset(name);
  const { template, maxContextTokens, maxNewTokens } = dataset.member;
  const load = async (split: Split): Promise<AnalysedSplit> => {
    const { rows, path } = await loadSplit(dataset, split, {
      root: join(shared, "data_file"),
      compat: new Set(["splits"]),
    });
    const encoded = await encodeTrainingRows(rows, {
      tokenizer,
      template,
      maxContextTokens,
      maxTargetTokens: maxNewTokens,
      compat,
      path,
      encoding: { largeFrom: Infinity },
    });
    return { path, rows, encoded };
  };
  const test = await load("test");
  return analyseDataset(
    { train: await load("train"), validation: test, test },
    { batch: 16, limits: { context: 256, target: 16 } },
  );
};

// Mean and 95th percentile of the prompts, share of real tokens in 272 columns: measured with the original's code.
testWithShared(
  "ARC-Easy has the lengths that the original's code gives",
  "data",
  async (t, shared) => {
    const { splits, padding, testRowsInTrain } = await analyse(shared, "arce", new Set(["tokens"]));
    const [train] = splits;
    t.is(train?.rows, 2251);
    t.is(train?.context.mean.toFixed(1), "108.3");
    t.is(train?.context.p95, 147);
    t.is(train?.target.mean, 6);
    t.is(((100 * padding.tokens) / padding.fixed).toFixed(0), "42");
    t.true(padding.tokens / padding.buckets > 0.97);
    t.is(testRowsInTrain.length, 2); // ARC-Easy itself repeats two test questions in train
  },
);

testWithShared("ARC-Challenge gains BOS and EOS in our own form", "data", async (t, shared) => {
  const { splits } = await analyse(shared, "arcc", new Set());
  const [train] = splits;
  t.is(train?.rows, 1119);
  t.is(train?.context.mean.toFixed(1), "118.2"); // 117.2 and BOS
  t.is(train?.context.p95, 162);
  t.is(train?.target.mean, 7);
});
