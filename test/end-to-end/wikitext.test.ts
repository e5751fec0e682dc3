import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import test, { type ExecutionContext } from "ava";
import { demoFolder } from "../../scripts/demo/paths.js";
import type { PerplexityResult } from "../../src/runs/run-perplexity.js";
import { readOutputHeader } from "../../src/report/output-jsonl.js";
import { runFolderIn } from "../support/resumed-runs.js";
import { runHira } from "../support/run-hira.js";
import { testWithShared } from "../support/shared.js";
import { makeTempFolder } from "../support/temp-folder.js";

const text = fileURLToPath(new URL("../fixtures/perplexity/harbour.txt", import.meta.url));

/** A data root with a text of our own in the places of WikiText-2's, the training split packed. */
const makeRoot = async (t: ExecutionContext): Promise<string> => {
  const root = await makeTempFolder(t);
  const folder = join(root, "wikitext-2");
  await mkdir(folder);
  await writeFile(join(folder, "wiki.train.tokens.gz"), gzipSync(await readFile(text)));
  for (const split of ["valid", "test"]) await copyFile(text, join(folder, `wiki.${split}.tokens`));
  return root;
};

const flagsOf = (root: string): readonly string[] => [
  ...[`--model=${demoFolder}`, `--data_dir=${root}`, "--dataset=wikitext2", "--peft_type=hira"],
  ...["--batch=4", "--warmup=0", "--lr=5e-2", `--output_folder=${join(root, "runs")}`],
];

test("wikitext2 trains on packed blocks, says how to measure it, and the text becomes likelier", async (t) => {
  const root = await makeRoot(t);
  const trained = await runHira(
    ...[...flagsOf(root), "--block_size=64", "--max_steps=6"],
    ...["--eval_strategy=steps", "--eval_steps=3"],
  );
  t.is(trained.code, 0, trained.err);
  t.regex(trained.out, /hira perplexity --ckpt=\S+ --dataset=wikitext2 --data_dir=/);
  t.notRegex(trained.out, /hira score/);
  const run = runFolderIn(trained.out);
  t.is((await readOutputHeader(join(run, "output.jsonl"))).flags.dataset, "wikitext2");
  const lines = (await readFile(join(run, "output.jsonl"), "utf8")).trimEnd().split("\n");
  t.is(lines.length, 4);
  const measure = async (...model: readonly string[]): Promise<PerplexityResult> => {
    const { code, out, err } = await runHira(
      ...["perplexity", ...model, "--dataset=wikitext2", `--data_dir=${root}`, "--json"],
    );
    t.is(code, 0, err);
    return JSON.parse(out) as PerplexityResult;
  };
  const before = await measure(`--model=${demoFolder}`);
  const after = await measure(`--ckpt=${run}`);
  t.is(after.tokens, before.tokens);
  t.true(after.tokenPerplexity < before.tokenPerplexity / 4);
});

test("running text is refused where rows are answered, and blocks that do not fit the model", async (t) => {
  const root = await makeRoot(t);
  const flags = flagsOf(root);
  const cases: readonly (readonly [RegExp, ...string[]])[] = [
    [/wikitext2, which is running text, with --ckpt/, ...flags.slice(0, 3), `--ckpt=${demoFolder}`],
    [/--block_size 513: found a model of 512 positions/, ...flags, "--block_size=513"],
    [/--block_size \(without --dataset=wikitext2\)/, ...flags, "--dataset=boolq", "--block_size=9"],
    [/--limit/, ...flags, "--limit=3"],
    [
      /found neither wiki\.train\.raw nor wiki\.train\.raw\.gz/,
      ...flags,
      "--dataset=wikitext2_raw",
    ],
  ];
  for (const [message, ...argv] of cases) {
    const { code, err } = await runHira(...argv);
    t.is(code, 2, err);
    t.regex(err, message);
  }
});

testWithShared(
  "WikiText-2's own files train 20 steps on the demo model",
  "data/data_file/wikitext-2/wiki.train.tokens.gz",
  async (t, path) => {
    const root = join(path, "../..");
    const { code, out, err } = await runHira(
      ...[...flagsOf(root), `--output_folder=${await makeTempFolder(t)}`],
      ...["--block_size=32", "--batch=2", "--max_steps=20", "--eval_strategy=no"],
    );
    t.is(code, 0, err);
    t.regex(out, /step 20\/20/);
  },
);
