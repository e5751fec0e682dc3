import { cpuPlan } from "../../src/runtime/compute-plan.js";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import test from "ava";
import { UserError } from "../../src/core/errors.js";
import {
  bertScoreOfPair,
  bertScoresOfBatch,
  bestBertScore,
  type EncodedText,
} from "../../src/metrics/bert-score.js";
import { openTextEncoder } from "../../src/runs/text-encoder.js";
import { convai2 } from "../../src/score/convai2.js";

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

const fixtures = fileURLToPath(new URL("../fixtures/metrics/", import.meta.url));
const folder = `${fixtures}bert-encoder`;

/** [prediction, references, precision, recall, F1] by layer, of bert-score. */
const known = JSON.parse(readFileSync(`${fixtures}bert-encoder.json`, "utf8")) as Readonly<
  Record<string, readonly (readonly [string, readonly string[], number, number, number])[]>
>;

const silent = {
  line: () => undefined,
  warn: () => undefined,
  decoding: () => ({ advance: () => undefined, done: () => undefined }),
};

test("with an encoder and one of its layers, scores are bert-score's: many references, empty texts, special tokens, texts beyond the limit", async (t) => {
  for (const [layer, items] of Object.entries(known)) {
    const encoder = await openTextEncoder(
      folder,
      { layer: Number(layer), plan: cpuPlan(1) },
      silent,
    );
    const texts = items.flatMap(([prediction, references]) => [prediction, ...references]);
    const vectors = await encoder.encode(texts);
    encoder.dispose();
    const of = new Map(vectors.map((vector, i) => [texts[i], vector]));
    const scores = bertScoresOfBatch(
      items.flatMap(([prediction, references]) =>
        references.map((reference) => ({
          prediction: of.get(prediction)!,
          reference: of.get(reference)!,
        })),
      ),
    );
    let at = 0;
    for (const [prediction, references, ...expected] of items) {
      const { precision, recall, f1 } = bestBertScore(scores.slice(at, (at += references.length)));
      for (const [i, value] of [precision, recall, f1].entries())
        t.true(
          Math.abs(value - (expected[i] ?? NaN)) < 2e-6,
          `layer ${layer}, ${prediction}: ${String(value)}, ${String(expected[i])}`,
        );
    }
  }
});

test("the padding of a shorter text counts as a cosine of 0, as in bert-score", (t) => {
  const one = (x: number): EncodedText => ({
    ...{ vectors: Float32Array.of(x, 1), width: 2 },
    weights: [1],
  });
  const two = (x: number): EncodedText => ({
    ...{ vectors: Float32Array.of(x, 1, x, 1), width: 2 },
    weights: [1, 1],
  });
  const far = { prediction: one(-3), reference: one(3) };
  const [alone] = bertScoresOfBatch([far]);
  t.true((alone?.precision ?? NaN) < -0.7 && (alone?.recall ?? NaN) < -0.7);
  const [beside] = bertScoresOfBatch([far, { prediction: one(1), reference: two(1) }]);
  t.is(beside?.precision, 0);
  t.is(beside?.recall, alone?.recall);
});

test("convai2's bert figures are means over its items, and a remark names encoder and layer", async (t) => {
  const encoder = await openTextEncoder(folder, { layer: undefined, plan: cpuPlan(1) }, silent);
  const items = (known["2"] ?? []).filter(([prediction]) => !prediction.includes(" Q:"));
  const answers = items.flatMap(([pred, references], i) =>
    references.map((gt) => ({ context: String(i), pred, gt })),
  );
  const { figures, remarks } = await convai2.score(answers, {
    ...{ compat: new Set(), set: undefined, encoder },
  });
  encoder.dispose();
  for (const [key, column] of [
    ["bert f1", 4],
    ["BERT Recall", 3],
    ["BERT Precision", 2],
  ] as const) {
    const mean = items.reduce((sum, item) => sum + item[column], 0) / items.length;
    const figure = figures.find((other) => other.key === key);
    t.true(Math.abs((figure?.value ?? NaN) - 100 * mean) < 1e-4, key);
  }
  t.true(
    remarks.some((remark) => remark.includes("bert-encoder (bert), layer 2 of 2")),
    remarks.join("\n"),
  );
});

test("a decoder, a layer that is not there and a folder without a model are refused as --bert_model", async (t) => {
  const open = (name: string, layer?: number) =>
    t.throwsAsync(openTextEncoder(name, { layer }, silent), { instanceOf: UserError });
  const decoder = fileURLToPath(new URL("../fixtures/models/families/opt/model", import.meta.url));
  t.regex((await open(decoder)).message, /found opt, whose tokens see only what stands before/);
  t.regex((await open(folder, 3)).message, /--bert_layer 3: found 2 layers .* from 0 to 2/);
  t.regex((await open(`${fixtures}nowhere`)).message, /Cannot load a model from .*nowhere/);
});
