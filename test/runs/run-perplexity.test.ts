import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import test from "ava";
import { demoFolder } from "../../scripts/demo/paths.js";
import type { PerplexityResult } from "../../src/runs/run-perplexity.js";
import { runFolderIn } from "../support/resumed-runs.js";
import { runHira } from "../support/run-hira.js";
import { testWithShared } from "../support/shared.js";
import { makeTempFolder } from "../support/temp-folder.js";

const folder = fileURLToPath(new URL("../fixtures/perplexity/", import.meta.url));
const text = join(folder, "harbour.txt");
const model = `--model=${demoFolder}`;

interface Expected extends Pick<
  PerplexityResult,
  "maxLength" | "stride" | "bos" | "tokens" | "negativeLogLikelihood" | "tokenPerplexity"
> {
  readonly wordPerplexity: number;
  readonly bitsPerByte: number;
}

const measure = async (...argv: readonly string[]): Promise<PerplexityResult> => {
  const { code, out, err } = await runHira("perplexity", "--json", ...argv);
  if (code !== 0) throw new Error(err);
  return JSON.parse(out) as PerplexityResult;
};

const isNear = (found: number | null, expected: number, tolerance: number): boolean =>
  found !== null && Math.abs(found - expected) <= tolerance * Math.abs(expected);

test("perplexity of a text equals plain PyTorch's, whatever window, stride and BOS rule", async (t) => {
  const cases = JSON.parse(await readFile(join(folder, "demo.json"), "utf8")) as Expected[];
  for (const expected of cases) {
    const { maxLength, stride, bos } = expected;
    const found = await measure(
      ...[model, `--input=${text}`, `--bos=${bos}`],
      ...[`--max_length=${String(maxLength)}`, `--stride=${String(stride)}`],
    );
    const name = JSON.stringify(expected);
    t.is(found.tokens, expected.tokens, name);
    // float32 logits on both sides.
    t.true(isNear(found.negativeLogLikelihood, expected.negativeLogLikelihood, 1e-5), name);
    t.true(isNear(found.tokenPerplexity, expected.tokenPerplexity, 2e-4), name);
    t.true(isNear(found.wordPerplexity, expected.wordPerplexity, 5e-4), name);
    t.true(isNear(found.bitsPerByte, expected.bitsPerByte, 1e-5), name);
  }
});

test("by default a text is measured in windows of the model's positions, half of which is context, and tells so", async (t) => {
  const out = join(await makeTempFolder(t), "figures.json");
  const run = await runHira("perplexity", model, `--input=${text}`, `--out=${out}`);
  t.is(run.code, 0, run.err);
  t.regex(run.out, /windows of 512 tokens, stride 256, <s> before the text\n/);
  for (const figure of ["by token", "by word", "by word and line end"])
    t.regex(run.out, new RegExp(`perplexity ${figure} +\\d+ `));
  const figures = JSON.parse(await readFile(out, "utf8")) as PerplexityResult;
  t.deepEqual(figures.counts, {
    words: 210,
    lines: 12,
    bytes: (await readFile(text)).length,
  });
  const again = await runHira("perplexity", model, `--input=${text}`, `--out=${out}`);
  t.is(again.code, 2);
});

test("rows of text are measured each by itself, and the batch does not matter", async (t) => {
  const input = join(await makeTempFolder(t), "texts.jsonl");
  const whole = await readFile(text, "utf8");
  const texts = [whole.slice(0, 300), whole.slice(300), "A single line ."];
  await writeFile(input, texts.map((each) => JSON.stringify({ text: each })).join("\n"));
  const flags = [model, `--input=${input}`, "--max_length=64"];
  const [one, three] = [await measure(...flags, "--batch=1"), await measure(...flags, "--batch=3")];
  t.is(one.texts, 3);
  t.is(one.tokens, three.tokens);
  t.true(isNear(one.negativeLogLikelihood, three.negativeLogLikelihood, 1e-6));
});

test("--limit measures the first windows alone, without figures by word", async (t) => {
  const found = await measure(model, `--input=${text}`, "--max_length=64", "--limit=2");
  t.is(found.windows, 2);
  t.is(found.tokens, 95);
  t.is(found.wordPerplexity, null);
});

test("an adapter that is trained changes the perplexity, one that is not does not", async (t) => {
  const runs = await makeTempFolder(t);
  const data = [model, `--data_dir=${demoFolder}`, "--dataset=boolq", "--batch=8", "--limit=1"];
  const train = [...data, `--output_folder=${runs}`, "--eval_strategy=no", "--peft_type=hira"];
  const plain = await measure(model, `--input=${text}`, "--max_length=64");
  for (const [steps, isSame] of [
    ["0", true],
    ["3", false],
  ] as const) {
    const { code, out, err } = await runHira(
      ...[...train, `--max_steps=${steps}`, "--lr=1e-2", "--warmup=0", `--exp_name=${steps}`],
    );
    t.is(code, 0, err);
    const found = await measure(`--ckpt=${runFolderIn(out)}`, `--input=${text}`, "--max_length=64");
    t.is(isNear(found.negativeLogLikelihood, plain.negativeLogLikelihood, 1e-6), isSame);
  }
});

test("what cannot be measured is refused in words", async (t) => {
  const empty = join(await makeTempFolder(t), "empty.txt");
  await writeFile(empty, " \n");
  const cases: readonly (readonly [RegExp, ...string[]])[] = [
    [/--input: found nothing, expected a file of text/, model],
    [
      /found .*harbour.txt with --dataset wikitext2/,
      model,
      `--input=${text}`,
      "--dataset=wikitext2",
    ],
    [/found no text/, model, `--input=${empty}`],
    [/model of 512 positions/, model, `--input=${text}`, "--max_length=513"],
    [
      /--stride 64: found windows of 63/,
      model,
      `--input=${text}`,
      "--max_length=64",
      "--stride=64",
      "--bos=window",
    ],
    [/--split \(without --dataset\)/, model, `--input=${text}`, "--split=train"],
    [/wiki\.test\.tokens\.gz/, model, "--dataset=wikitext2", `--data_dir=${demoFolder}`],
  ];
  for (const [message, ...argv] of cases) {
    const { code, err } = await runHira("perplexity", ...argv);
    t.is(code, 2, err);
    t.regex(err, message);
  }
});

testWithShared(
  "WikiText-2's test split has the words and lines of its publication, and is cut into lines without a change to its tokens",
  "data/data_file/wikitext-2/wiki.test.tokens",
  async (t, path) => {
    const root = join(path, "../..");
    const found = await runHira(
      ...["perplexity", model, "--dataset=wikitext2", `--data_dir=${root}`],
      ...["--max_length=512", "--limit=1", "--json"],
    );
    t.is(found.code, 0, found.err);
    t.is((JSON.parse(found.out) as PerplexityResult).path, path);
    const { textCounts } = await import("../../src/runs/perplexity.js");
    const { words, lines } = textCounts([await readFile(path, "utf8")]);
    t.is(words, 241_211);
    // The 245,569 tokens of Merity et al. count a line's end as one.
    t.is(words + lines, 245_569);
  },
);
