import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { readFileSync } from "node:fs";
import test from "ava";
import { digestOfAnswers, madeUpLetters, madeUpTexts } from "../support/made-up-answers.js";
import { runHira } from "../support/run-hira.js";
import { makeTempFolder } from "../support/temp-folder.js";
import { convai2 } from "../../src/score/convai2.js";
import { cutAtMarks, itemsOf } from "../../src/score/text-items.js";
import { convai2Rows, digestOf } from "../support/scored-rows.js";
import { testWithShared } from "../support/shared.js";

interface Reference {
  readonly rows: number;
  readonly items: number;
  readonly sha256: string;
  readonly figures: Readonly<Record<string, number>>;
  readonly f1: readonly number[];
}

const ours = new Set<never>();

testWithShared(
  "the figures of 640 rows are those of convai2_eval.py",
  "data/data_file/convai2",
  async (t, folder) => {
    const path = new URL("../fixtures/score/convai2.json", import.meta.url);
    const reference = JSON.parse(readFileSync(path, "utf8")) as Reference;
    const rows = convai2Rows(`${folder}/..`);
    t.is(digestOf(rows), reference.sha256);
    const { figures, items } = await convai2.score(rows, { compat: ours, set: "convai2" });
    t.is(items, reference.items);
    const f1 = figures.find(({ key }) => key === "f1");
    const terms = f1?.value !== undefined && f1.sample.kind === "sums" ? [...f1.sample.terms] : [];
    t.is(terms.length, reference.f1.length);
    t.true(terms.every((value, i) => Math.abs(value - (reference.f1[i] ?? NaN)) < 1e-8));
    for (const [key, expected] of Object.entries(reference.figures)) {
      const figure = figures.find((other) => other.key === key);
      t.not(figure?.value, undefined, key);
      if (figure?.value === undefined) return;
      t.true(
        Math.abs(figure.value - expected) < 1e-6,
        `${key}: ${String(figure.value)}, ${String(expected)}`,
      );
      const { low, high } = figure.interval;
      t.true(low < figure.value && figure.value < high, `${key}: ${String(low)} - ${String(high)}`);
    }
  },
);

test("itemsOf joins consecutive rows of one context: the first prediction, all references", (t) => {
  const row = (context: string, pred: string, gt: string) => ({ context, pred, gt });
  t.deepEqual(
    itemsOf(
      [row("a", " x ", "1"), row("a", "y", " 2"), row("b", "z", "3"), row("a", "w", "4")],
      cutAtMarks,
    ).map(({ prediction, references }) => [prediction, references]),
    [
      ["x", ["1", " 2"]],
      ["z", ["3"]],
      ["w", ["4"]],
    ],
  );
});

for (const [text, cut] of [
  [" hello Q: there", "hello"],
  ["R: x", ""],
  ["a TARGET: b R: c", "a"],
  ["Q:R:", ""],
  ["FAQ: no", "FA"],
  ["", ""],
] as const) {
  test(`cutAtMarks makes ${JSON.stringify(cut)} of ${JSON.stringify(text)}`, (t) => {
    t.is(cutAtMarks(text), cut);
  });
}

test("an empty prediction counts, and what cannot be computed is said in words, never as 0", async (t) => {
  const rows = ["", ""].map((pred, i) => ({ context: String(i), pred, gt: "yes, I do" }));
  const scored = await convai2.score(rows, { compat: ours, set: undefined });
  t.deepEqual(scored.counts, { "an empty prediction": 2 });
  const figure = (key: string) => scored.figures.find((other) => other.key === key);
  t.like(figure("bleu"), { value: 0, interval: { low: 0, high: 0 } });
  t.like(figure("dist1"), { value: 50 });
  t.like(figure("dist2"), { value: undefined, missing: "no prediction has two words" });
  t.like(figure("bert f1"), {
    value: undefined,
    missing: "BERTScore needs an encoder (--bert_model)",
  });
});

test("hira score's figures of 600 rows each of samsum, e2e and mmlu are those of the reference packages", async (t) => {
  const stored = JSON.parse(
    await readFile(new URL("../fixtures/score/made-up-rows.json", import.meta.url), "utf8"),
  ) as Readonly<
    Record<
      string,
      {
        readonly digest: string;
        readonly figures: Readonly<Record<string, number>>;
        readonly groups?: Readonly<Record<string, number>>;
      }
    >
  >;
  const folder = await makeTempFolder(t);
  const close = (found: unknown, expected: number, what: string): void => {
    t.true(Math.abs(Number(found) - expected) < 1e-6, `${what}: ${String(found)}`);
  };
  for (const [set, answers] of [
    ["samsum", madeUpTexts(1, 1)],
    ["e2e_nlg", madeUpTexts(2, 3)],
    ["mmlu", madeUpLetters(3)],
  ] as const) {
    const { digest, figures, groups = {} } = stored[set] ?? { digest: "", figures: {} };
    t.is(digestOfAnswers(answers), digest, `the rows of ${set} are those of the script`);
    const path = join(folder, `output_-1_${set}_eval.jsonl`);
    const lines = [{ dataset: set }, {}, {}, {}, ...answers];
    await writeFile(path, lines.map((row) => JSON.stringify(row)).join("\n"));
    const { code, out, err } = await runHira("score", path, "--json");
    t.is(code, 0, err);
    const [scored] = JSON.parse(out) as readonly {
      readonly rows: number;
      readonly figures: Readonly<Record<string, number | null>>;
      readonly groups: readonly { readonly name: string; readonly accuracy: number }[];
    }[];
    t.is(scored?.rows, 600);
    for (const [key, value] of Object.entries(figures))
      close(scored?.figures[key], value, `${set} ${key}`);
    for (const [name, value] of Object.entries(groups))
      close(scored?.groups.find((group) => group.name === name)?.accuracy, value, name);
  }
});
