import { readFileSync } from "node:fs";
import { mkdir, mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import {
  answerNumber,
  isSameNumber,
  lastDigits,
  lastNumber,
  originalAnswerNumber,
} from "../../src/score/math-answers.js";
import { math } from "../../src/score/math.js";
import { digestOf, mathRows } from "../support/scored-rows.js";
import { testWithShared } from "../support/shared.js";

const original = new Set(["scorer"] as const);
const ours = new Set<never>();

interface Reference {
  readonly rows: number;
  readonly sha256: string;
  readonly figures: Readonly<Record<string, number>>;
  readonly numbers: readonly (number | null)[];
  readonly right: string;
  readonly newRight: string;
}

const readReference = (): Reference =>
  JSON.parse(
    readFileSync(new URL("../fixtures/score/math.json", import.meta.url), "utf8"),
  ) as Reference;

testWithShared(
  "under compat scorer both figures, and each row's, are metamath_eval.py's",
  "data/data_file",
  async (t, dataDir) => {
    const reference = readReference();
    const rows = mathRows(dataDir);
    t.is(digestOf(rows), reference.sha256);
    t.deepEqual(
      rows.map(({ pred }) => originalAnswerNumber(pred) ?? null),
      reference.numbers,
    );
    const { figures } = await math.score(rows, { compat: original, set: "gsm8k", dataDir });
    for (const [i, stored] of [reference.right, reference.newRight].entries()) {
      const figure = figures[i];
      t.not(figure?.value, undefined);
      if (figure?.value === undefined) return;
      t.true(Math.abs(figure.value - (reference.figures[figure.key] ?? NaN)) < 1e-9);
      const { sample } = figure;
      const right = sample.kind === "share" ? sample.right : [];
      t.is(right.map((isRight) => (isRight ? "1" : "0")).join(""), stored);
    }
    const fewer = math.score(rows.slice(1), { compat: original, set: "gsm8k", dataDir });
    await t.throwsAsync(fewer, { message: /found 1318 rows, expected the 1319 of .*test\.json/ });
  },
);

testWithShared(
  "GSM8K's answers are those of test.json, whatever solution stands in gt, and of the rows that there are",
  "data/data_file",
  async (t, dataDir) => {
    const rows = mathRows(dataDir)
      .filter((_, i) => i % 11 === 6)
      .slice(0, 50);
    const scored = await math.score(rows, { compat: ours, set: "gsm8k", dataDir });
    // `The answer is: $1,234.` is right in both readings, though some of these gts are wrong.
    t.deepEqual(
      scored.figures.map(({ value }) => value),
      [100, 100],
    );
    t.regex(scored.remarks.join("\n"), /^true answers of 50 rows: .*test\.json$/);
  },
);

for (const [text, last, behind, theirs] of [
  ["The answer is: 1,234,567", 1234567, 1234567, 1234],
  ["The answer is: 0.4", 0.4, 0.4, 0],
  ["The answer is: 2.5", 2.5, 2.5, 2],
  ["The answer is: 3.5", 3.5, 3.5, 4],
  ["The answer is: -7", -7, -7, -7],
  ["The answer is: $1,200.50.", 1200.5, 1200.5, 1200],
  ["The answer is: 1/4", 0.25, 0.25, 0],
  ["The answer is: 7/0", undefined, undefined, 7],
  ["The answer is: 10 - 3", 3, 10, 10],
  ["10-3", 3, undefined, undefined],
  ["12,34", 34, undefined, undefined],
  ["The answer is:18", 18, 18, undefined],
  ["a The answer is: 5 b The answer is: 6", 6, 6, 6],
  ["The answer is: none", undefined, undefined, undefined],
  ["The answer is: \u0661\u0662", 12, 12, 12],
  ["The answer is: .5", 0.5, 0.5, 0],
  ["", undefined, undefined, undefined],
] as const) {
  test(`of ${JSON.stringify(text)} the last number is ${String(last)}, after the phrase ${String(behind)}, by the original ${String(theirs)}`, (t) => {
    t.is(lastNumber(text), last);
    t.is(answerNumber(text), behind);
    t.is(originalAnswerNumber(text), theirs);
  });
}

test("lastDigits knows no sign, thousands or decimals, as the original's acc", (t) => {
  t.is(lastDigits("-1,234.56 in all"), "56");
  t.is(lastDigits("none"), "");
});

test("isSameNumber forgives a float's rounding alone, and nothing equals nothing", (t) => {
  t.true(isSameNumber(1 / 3, 0.3333333));
  t.false(isSameNumber(18, 18.1));
  t.false(isSameNumber(undefined, undefined));
});

test("without test.json a row's gt tells its answer, and rows without phrase or number are told apart", async (t) => {
  const row = (pred: string) => ({
    context: "q",
    pred,
    gt: "2 * 9 = 18\n#### 18\nThe answer is: 18",
  });
  const scored = await math.score(
    ["The answer is: 18", "18", "The answer is: unknown", "no idea", "The answer is: 1,8"].map(row),
    { compat: ours, set: "meta_math" },
  );
  t.deepEqual(
    scored.figures.map(({ key, value }) => [key, value]),
    [
      ["acc", 40],
      ["new acc", 20],
    ],
  );
  t.deepEqual(scored.counts, {
    "no phrase": 2,
    "phrase without a number": 1,
    "no number at all": 2,
    "no true answer": 0,
  });
});

test("a test.json of another form is refused, with its row", async (t) => {
  const dataDir = await mkdtemp(join(tmpdir(), "hira-math-"));
  await mkdir(join(dataDir, "llm_adapt", "gsm8k"), { recursive: true });
  await writeFile(
    join(dataDir, "llm_adapt", "gsm8k", "test.json"),
    '[{"instruction":"a","answer":"1.0"},{"instruction":"b","answer":""}]',
  );
  const rows = [{ context: "a", pred: "1", gt: "2" }];
  await t.throwsAsync(math.score(rows, { compat: ours, set: "gsm8k", dataDir }), {
    name: "UserError",
    message: /test\.json, row 2: found no instruction with a number in answer/,
  });
});
