import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import test from "ava";
import { demoFolder } from "../../scripts/demo/paths.js";
import { answerByLetters } from "../../src/runs/answer-letters.js";
import type { Questions } from "../../src/runs/questions.js";
import { findSingleDataset } from "../../src/datasets/registry.js";
import type { DecodeEngine } from "../../src/decode/step-engine.js";
import { readOutputJsonl } from "../../src/report/output-jsonl.js";
import { loadTokenizer } from "../../src/tokenizer/load-tokenizer.js";
import { InterruptSignal } from "../../src/train/interrupt.js";
import { runHira } from "../support/run-hira.js";
import { makeTempFolder } from "../support/temp-folder.js";

const data = fileURLToPath(new URL("../fixtures/letters/", import.meta.url));
const flags = [`--model=${demoFolder}`, `--ckpt=${demoFolder}`, `--data_dir=${data}`].concat(
  ...["--dataset=mmlu", "--batch=16"],
);

test("MMLU is answered by the largest of four logits, as plain PyTorch has them, in a file with _prob and the accuracy", async (t) => {
  const out = await makeTempFolder(t);
  const { code, err } = await runHira(...flags, `--output_folder=${out}`);
  t.is(code, 0, err);
  const path = join(out, "demo", "output_-1_mmlu_prob_eval.jsonl");
  const { rows } = await readOutputJsonl(path);
  const letters = JSON.parse(await readFile(join(data, "demo.json"), "utf8")) as string[];
  t.deepEqual(
    rows.map(({ pred }) => pred),
    letters,
  );
  t.deepEqual(
    rows.map(({ gt }) => gt),
    ["B", "A", "C", "D", "B", "C", "D", "A", "B"],
  );
  t.true(rows[0]?.context.endsWith("D. The moon\nAnswer:"));
  const lines = (await readFile(path, "utf8")).split("\n");
  t.is(lines[2], '{"acc": 22.22222222222222}');
  const scored = await runHira("score", path);
  t.is(scored.code, 0, scored.err);
  t.regex(scored.out, /22\.2/);
});

test("--decoding=greedy writes one token to MMLU instead", async (t) => {
  const out = await makeTempFolder(t);
  const { code, err } = await runHira(...flags, "--decoding=greedy", `--output_folder=${out}`);
  t.is(code, 0, err);
  const { rows, summary } = await readOutputJsonl(
    join(out, "demo", "output_-1_mmlu_prob_eval.jsonl"),
  );
  t.true("trainSeconds" in summary);
  t.is(rows.length, 9);
});

test("of four letters the likeliest is taken, wherever it stands among all tokens, and of equal ones the first", async (t) => {
  const tokenizer = await loadTokenizer(demoFolder);
  const idOf = (letter: string): number => tokenizer.idOf(letter) ?? -1;
  const width = tokenizer.vocabularySize;
  const logits: readonly Readonly<Record<string, number>>[] = [
    { A: -9, B: -8, C: -7, D: -8.5 },
    { A: -3, B: -20, C: -30, D: -3 },
    { A: -5, B: -4, C: -6, D: -3 },
  ];
  const engine: DecodeEngine = {
    vocabularySize: width,
    start: (prompts) => {
      const candidates = {
        beams: 1,
        width,
        logProbs: new Float32Array(prompts.length * width),
        ids: new Int32Array(prompts.length * width),
        normalizers: new Float32Array(prompts.length),
      };
      for (const [i, { ids }] of prompts.entries()) {
        const own = new Map(
          Object.entries(logits[ids[0] ?? 0] ?? {}).map(([letter, value]) => [idOf(letter), value]),
        );
        const sorted = Array.from({ length: width }, (_, id) => id).sort(
          (a, b) => (own.get(b) ?? -1) - (own.get(a) ?? -1),
        );
        candidates.ids.set(sorted, i * width);
        candidates.logProbs.set(
          sorted.map((id) => own.get(id) ?? -1),
          i * width,
        );
      }
      return Promise.resolve({
        candidates,
        run: {
          step: () => Promise.reject(new Error("found a step")),
          keep: () => undefined,
          dispose: () => undefined,
        },
      });
    },
  };
  const questions: Questions = {
    dataset: findSingleDataset("mmlu"),
    path: "test.jsonl",
    rows: ["C", "A", "B"].map((target) => ({ context: "?", target })),
    prompts: logits.map((_, row) => ({ row, ids: Int32Array.of(row), contextLength: 1 })),
    warnings: [],
    unknown: [],
  };
  const base = {
    folder: { path: demoFolder, files: [] },
    weights: { names: [] },
  };
  const found = await answerByLetters(
    questions,
    { engine, tokenizer, answerer: { base, adapted: undefined } as never },
    {
      path: join(await makeTempFolder(t), "answers.jsonl"),
      batch: 2,
      ui: {
        decoding: () => ({ advance: () => undefined, done: () => undefined }),
        line: () => undefined,
        warn: () => undefined,
      } as never,
      interrupt: new InterruptSignal(),
    },
  );
  t.deepEqual(
    found.rows.map(({ pred }) => pred),
    ["C", "A", "D"],
  );
  t.true(Math.abs(found.accuracyPercent - 200 / 3) < 1e-9);
  await t.throwsAsync(
    answerByLetters(
      questions,
      {
        engine,
        tokenizer: { ...tokenizer, idOf: (token) => (token === "D" ? undefined : 5) },
        answerer: { base, adapted: undefined } as never,
      },
      { path: "", batch: 2, ui: {} as never, interrupt: new InterruptSignal() },
    ),
    { message: /found no token D / },
  );
});
