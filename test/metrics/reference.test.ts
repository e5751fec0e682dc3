import { readFileSync } from "node:fs";
import test, { type ExecutionContext } from "ava";
import { bleu } from "../../src/metrics/bleu.js";
import { ciderPerPair } from "../../src/metrics/cider.js";
import { classificationScore } from "../../src/metrics/classification.js";
import { distinct } from "../../src/metrics/distinct.js";
import { openMeteorData } from "../../src/metrics/meteor-data.js";
import { meteor } from "../../src/metrics/meteor.js";
import { nist } from "../../src/metrics/nist.js";
import type { Pair } from "../../src/metrics/pair.js";
import { rougeOfPair } from "../../src/metrics/rouge.js";
import { tokenF1 } from "../../src/metrics/token-f1.js";
import { digestPairs, makePairs, pairSources } from "../support/metric-pairs.js";
import { sharedPath } from "../support/shared.js";

interface Corpus {
  readonly bleu: readonly number[] | null;
  readonly nist: number | null;
  readonly distinct1: number;
  readonly distinct2: number;
}

type Rows = readonly (readonly (number | null)[])[];

const readFixture = <T>(name: string): T =>
  JSON.parse(
    readFileSync(new URL(`../fixtures/metrics/${name}.json`, import.meta.url), "utf8"),
  ) as T;

const fixture = readFixture<{
  readonly columns: readonly string[];
  readonly sets: Readonly<
    Record<string, { readonly digest: string; readonly corpus: Corpus; readonly rows: Rows }>
  >;
}>("pairs");
const odd = readFixture<{
  readonly pairs: readonly (readonly [string, readonly string[]])[];
  readonly rows: Rows;
  readonly corpus: Corpus;
}>("odd");
const oddPairs = odd.pairs.map(([prediction, references]) => ({ prediction, references }));

/** Stored numbers have 9 digits after the point. */
const isClose = (
  t: ExecutionContext,
  value: number | undefined,
  expected: number | null | undefined,
  what: string,
): void => {
  t.true(
    value !== undefined &&
      expected !== undefined &&
      expected !== null &&
      Math.abs(value - expected) < 1e-8 * Math.max(1, Math.abs(expected)),
    `${what}: found ${String(value)}, expected ${String(expected)}`,
  );
};

const compareRows = (
  t: ExecutionContext,
  pairs: readonly Pair[],
  rows: Rows,
  columns: Readonly<Record<string, readonly number[]>>,
): void => {
  t.is(pairs.length, rows.length);
  for (const [name, values] of Object.entries(columns)) {
    const column = fixture.columns.indexOf(name);
    for (const [i, value] of values.entries()) {
      const expected = rows[i]?.[column];
      // The reference divides by zero where a text has no token.
      if (expected !== null) isClose(t, value, expected, `${name} of pair ${String(i + 1)}`);
      else t.is(value, 0, `${name} of pair ${String(i + 1)}`);
    }
  }
};

const compareCorpus = (t: ExecutionContext, pairs: readonly Pair[], corpus: Corpus): void => {
  const { precisions, ...score } = bleu(pairs);
  const values = [
    score.bleu,
    ...precisions,
    score.brevityPenalty,
    score.lengthRatio,
    score.predictionLength,
    score.referenceLength,
  ];
  for (const [i, value] of values.entries())
    isClose(t, value, corpus.bleu?.[i], `bleu, number ${String(i)}`);
  isClose(t, nist(pairs), corpus.nist, "nist");
  const texts = pairs.map(({ prediction }) => prediction);
  isClose(t, distinct(texts, 1), corpus.distinct1, "distinct 1");
  isClose(t, distinct(texts, 2), corpus.distinct2, "distinct 2");
};

const columnsOf = (pairs: readonly Pair[]): Readonly<Record<string, readonly number[]>> => {
  const rouges = pairs.map(rougeOfPair);
  const bleus = pairs.map((pair) => bleu([pair]));
  return {
    rouge1: rouges.map(({ rouge1 }) => rouge1),
    rouge2: rouges.map(({ rouge2 }) => rouge2),
    rougeL: rouges.map(({ rougeL }) => rougeL),
    f1: pairs.map(tokenF1),
    bleu: bleus.map((score) => score.bleu),
    precision1: bleus.map(({ precisions }) => precisions[0]),
    precision2: bleus.map(({ precisions }) => precisions[1]),
    precision3: bleus.map(({ precisions }) => precisions[2]),
    precision4: bleus.map(({ precisions }) => precisions[3]),
    meteorWithoutLists: meteor(pairs).perPair,
    cider: ciderPerPair(pairs),
  };
};

const dataFile = sharedPath("data/data_file");
/** A folder of nltk_data, which scripts/reference/punkt_tab.py and Debian's wordnet-base fill. */
const nltkData = process.env["HIRA_NLTK_DATA"] ?? sharedPath("nltk_data");

test("the real pairs of the references are 500 and more", (t) => {
  const pairs = Object.values(fixture.sets).reduce((sum, { rows }) => sum + rows.length, 0);
  t.true(pairs >= 500);
});

for (const name of Object.keys(pairSources)) {
  const stored = fixture.sets[name];
  if (dataFile === undefined || !stored) {
    test.skip(`metrics of ${name} equal the reference packages' (shared/data is not there)`, () =>
      undefined);
    continue;
  }
  const makeSame = (t: ExecutionContext): Pair[] => {
    const pairs = makePairs(name, dataFile);
    t.is(digestPairs(pairs), stored.digest);
    return pairs;
  };
  test(`metrics of ${name} equal the reference packages'`, (t) => {
    const pairs = makeSame(t);
    compareRows(t, pairs, stored.rows, columnsOf(pairs));
    compareCorpus(t, pairs, stored.corpus);
  });
  if (nltkData !== undefined)
    test(`METEOR of ${name} with WordNet and Punkt's lists equals nltk's`, async (t) => {
      const pairs = makeSame(t);
      const { perPair, remarks } = meteor(pairs, await openMeteorData(nltkData));
      compareRows(t, pairs, stored.rows, { meteor: perPair });
      t.is(remarks.length, 1);
    });
}

test("metrics of odd pairs equal the reference packages'", (t) => {
  compareRows(t, oddPairs, odd.rows, columnsOf(oddPairs));
  compareCorpus(t, oddPairs, odd.corpus);
});

if (nltkData === undefined)
  test.skip("METEOR of odd pairs equals nltk's (HIRA_NLTK_DATA and shared/nltk_data are not there)", () =>
    undefined);
else
  test("METEOR of odd pairs equals nltk's", async (t) => {
    const { perPair } = meteor(oddPairs, await openMeteorData(nltkData));
    compareRows(t, oddPairs, odd.rows, { meteor: perPair });
  });

test("accuracy, F1 and Matthews' correlation equal scikit-learn's", (t) => {
  interface Stored {
    readonly predicted: readonly string[];
    readonly truth: readonly string[];
    readonly accuracy: number;
    readonly f1: Readonly<Record<string, number>>;
    readonly macroF1: number;
    readonly weightedF1: number;
    readonly matthews: number;
  }
  for (const stored of readFixture<readonly Stored[]>("classifiers")) {
    const score = classificationScore(stored.predicted, stored.truth);
    isClose(t, score.accuracy, stored.accuracy, "accuracy");
    isClose(t, score.macroF1, stored.macroF1, "macro F1");
    isClose(t, score.weightedF1, stored.weightedF1, "weighted F1");
    isClose(t, score.matthews, stored.matthews, "Matthews");
    t.deepEqual([...score.perLabel.keys()], Object.keys(stored.f1));
    for (const [label, f1] of Object.entries(stored.f1))
      isClose(t, score.perLabel.get(label)?.f1, f1, `F1 of ${label}`);
  }
});
