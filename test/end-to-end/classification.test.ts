import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import test from "ava";
import { loadModelFolder } from "../../src/models/model-folder.js";
import { copyAsKilled, resultsOf, runFolderIn } from "../support/resumed-runs.js";
import { runHira } from "../support/run-hira.js";
import { makeTempFolder } from "../support/temp-folder.js";

const demo = fileURLToPath(new URL("../../data_file/demo", import.meta.url));

const flags = (folder: string, ...more: readonly string[]): readonly string[] => [
  ...[`--model=${demo}`, "--task=sequence-classification", "--peft_type=lora", "--r_ab=4"],
  ...["--target_modules=q_proj,v_proj", "--batch=8", "--warmup=0", "--lr=2e-2", "--threads=1"],
  ...["--max_length=32", `--output_folder=${join(folder, "out")}`, ...more],
];

const words = { good: ["warm", "bright", "kind"], poor: ["cold", "dull", "rude"] } as const;

/** Rows that a word tells apart. */
const writeRows = async (folder: string, name = "rows.tsv", count = 48): Promise<string> => {
  const path = join(folder, name);
  const rows = Array.from({ length: count }, (_, i) => {
    const label = i % 2 === 0 ? "good" : "poor";
    return `the day was ${words[label][i % 3] ?? ""} and long\t${label}`;
  });
  await writeFile(path, `sentence\tlabel\n${rows.join("\n")}\n`);
  return path;
};

const linesOf = async (path: string): Promise<readonly Record<string, unknown>[]> =>
  (await readFile(path, "utf8"))
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);

test("a file of texts with labels trains, goes on to the same bits, is tested, scored and merged", async (t) => {
  const folder = await makeTempFolder(t);
  const rows = await writeRows(folder);
  const asked = flags(
    folder,
    ...[`--dataset=${rows}`, "--validation=0.25", "--max_steps=6", "--show_rows=1"],
    ...["--eval_strategy=steps", "--eval_steps=2", "--metric_for_best=eval_accuracy", "--seed=4"],
  );
  const { code, out, err } = await runHira(...asked);
  t.is(code, 0, err);
  const said = out + err;
  t.regex(said, /48 rows of sentence, 2 labels: good, poor; 12 held out/);
  t.regex(said, /Row \d+ of .*: \d+ tokens, label (?:good|poor)/);
  t.regex(said, /Best validation accuracy \d\.\d{4} at step/);
  const run = runFolderIn(said);
  const metrics = await linesOf(join(run, "metrics.jsonl"));
  const evaluations = metrics.filter((row) => "eval_loss" in row);
  t.is(evaluations.length, 3);
  for (const row of evaluations) {
    const [low = NaN, high = NaN] = row.eval_accuracy_interval as readonly number[];
    t.true(low <= Number(row.eval_accuracy) && Number(row.eval_accuracy) <= high);
    t.is(typeof row.eval_mcc, "number");
  }
  const best = JSON.parse(await readFile(join(run, "best.json"), "utf8")) as {
    readonly checkpoint: string;
    readonly eval_accuracy: number;
    readonly eval_loss: number;
  };
  t.true(evaluations.some((row) => row.eval_loss === best.eval_loss));
  t.is(best.eval_accuracy, Math.max(...evaluations.map((row) => Number(row.eval_accuracy))));
  const adapter = join(run, best.checkpoint);
  const config = JSON.parse(await readFile(join(adapter, "adapter_config.json"), "utf8")) as object;
  t.like(config, { task_type: "SEQ_CLS", modules_to_save: ["classifier", "score"] });

  const copy = await copyAsKilled(run, join(folder, "killed"), 4);
  const again = await runHira(...asked, `--resume_from_checkpoint=${copy}`);
  t.is(again.code, 0, again.err);
  t.deepEqual(await resultsOf(copy), await resultsOf(run));

  const answers = join(folder, "answers.jsonl");
  const tested = await runHira(
    ...[`--ckpt=${run}`, `--dataset=${rows}`, "--task=sequence-classification", "--batch=16"],
    `--output_file=${answers}`,
  );
  t.is(tested.code, 0, tested.err);
  t.regex(tested.out + tested.err, /rows: accuracy \d+\.\d\d % \(95 % interval .*\), .*; 48 rows/);
  const predictions = (await linesOf(answers)).filter((row) => "pred" in row);
  t.is(predictions.length, 48);
  for (const { pred, gt, probabilities } of predictions) {
    t.true(["good", "poor"].includes(String(pred)) && ["good", "poor"].includes(String(gt)));
    const { good = NaN, poor = NaN } = probabilities as Record<string, number>;
    t.true(Math.abs(good + poor - 1) < 1e-6);
    t.is(pred, good >= poor ? "good" : "poor");
  }
  const scored = await runHira("score", answers, "--metric=classification", "--json");
  t.is(scored.code, 0, scored.err);

  const merged = join(folder, "merged");
  const merging = await runHira("merge", `--ckpt=${adapter}`, `--model=${demo}`, `--out=${merged}`);
  t.is(merging.code, 0, merging.err);
  t.regex(merging.out + merging.err, /the likeliest label is the same/);
  const { model, rawConfig } = await loadModelFolder(merged);
  t.deepEqual(model.labels, ["good", "poor"]);
  t.deepEqual(rawConfig.architectures, ["LlamaForSequenceClassification"]);
  t.deepEqual(rawConfig.label2id, { good: 0, poor: 1 });

  const other = join(folder, "three.jsonl");
  await writeFile(
    other,
    ["a", "b", "c"].map((label) => JSON.stringify({ text: "x", label })).join("\n"),
  );
  const noText = flags(folder, `--dataset=${other}`, "--eval_strategy=no", "--max_steps=1").filter(
    (flag) => !flag.startsWith("--model="),
  );
  const refused = await runHira(...noText, `--model=${merged}`);
  t.is(refused.code, 2);
  t.regex(
    refused.err,
    /found 3 labels in the data \(a, b, c\), expected the 2 of the model's head/,
  );
  const asText = await runHira(
    ...noText.filter((flag) => !flag.startsWith("--task=")),
    `--model=${merged}`,
  );
  t.is(asText.code, 2);
  t.regex(asText.err, /found a classifier of 2 labels, expected a model that predicts the next/);
});

test("sst2 is trained on as GLUE has it, tested on its dev rows with a warning, and scored by its run's folder", async (t) => {
  const folder = await makeTempFolder(t);
  await mkdir(join(folder, "data", "sst2"), { recursive: true });
  const rows = Array.from(
    { length: 12 },
    (_, i) => `a ${i % 2 ? "warm" : "cold"} day \t${String(i % 2)}`,
  );
  for (const split of ["train", "dev"])
    await writeFile(
      join(folder, "data", "sst2", `${split}.tsv`),
      `sentence\tlabel\n${rows.join("\n")}\n`,
    );
  const { code, out, err } = await runHira(
    ...flags(folder, "--dataset=sst2", `--data_dir=${join(folder, "data")}`, "--max_steps=2"),
    ...["--eval_strategy=steps", "--eval_steps=1"],
  );
  t.is(code, 0, err);
  const said = out + err;
  t.regex(said, /12 rows of sentence, 2 labels: negative, positive/);
  t.regex(said, /sst2 is tested on its validation rows: they choose the best checkpoint/);
  t.regex(said, /sst2: accuracy .*12 rows/);
  const run = runFolderIn(said);
  const answered = (await linesOf(join(run, "output.jsonl"))).filter((row) => "pred" in row);
  t.deepEqual(
    answered.map(({ gt }) => gt),
    rows.map((row) => (row.endsWith("1") ? "positive" : "negative")),
  );
  const scored = await runHira("score", join(run, "output.jsonl"));
  t.is(scored.code, 0, scored.err);
  t.regex(scored.out + scored.err, /mcc/);
  const asText = await runHira(
    ...flags(folder, "--dataset=boolq").filter((flag) => !flag.startsWith("--max_length")),
  );
  t.is(asText.code, 2);
  t.regex(asText.err, /Cannot use --task=sequence-classification with --dataset boolq/);
});

test("hira data check counts the labels, the rows that are cut, and those that stand in both splits", async (t) => {
  const folder = await makeTempFolder(t);
  const rows = await writeRows(folder);
  const { code, out, err } = await runHira(
    ...["data", "check", rows, `--model=${demo}`, "--task=sequence-classification"],
    ...["--validation=0.25", "--max_length=4"],
  );
  t.is(code, 1, err);
  t.regex(out, /sentence with 2 labels: good 24, poor 24/);
  t.regex(out, /over 4 tokens, cut: they lose their end/);
  t.regex(out, /in train|train has/);
});

test("full fine-tuning of a classifier writes a model folder that is one", async (t) => {
  const folder = await makeTempFolder(t);
  const rows = await writeRows(folder);
  const { code, out, err } = await runHira(
    ...flags(folder, `--dataset=${rows}`, "--eval_strategy=no", "--max_steps=1").filter(
      (flag) => !/--(?:peft_type|r_ab|target_modules)/.test(flag),
    ),
    "--peft_type=fft",
  );
  t.is(code, 0, err);
  t.regex(out + err, /trainable%: 100\.0$/m);
  const run = runFolderIn(out + err);
  const { model } = await loadModelFolder(join(run, "checkpoint-1"));
  t.deepEqual(model.labels, ["good", "poor"]);
  t.true(model.tensors.has("score.weight"));
  const merged = join(folder, "merged");
  const merging = await runHira("merge", `--ckpt=${run}`, `--out=${merged}`);
  t.is(merging.code, 0, merging.err);
  t.deepEqual((await loadModelFolder(merged)).model.labels, ["good", "poor"]);
});

test("labels and texts that are none say in which row, and nothing is written", async (t) => {
  const folder = await makeTempFolder(t);
  const fails = async (lines: readonly string[], ...more: readonly string[]): Promise<string> => {
    const path = join(folder, "rows.jsonl");
    await writeFile(path, lines.join("\n"));
    const { code, err } = await runHira(
      ...flags(folder, `--dataset=${path}`, "--max_steps=1", ...more),
      ...(more.some((flag) => flag.startsWith("--validation")) ? [] : ["--eval_strategy=no"]),
    );
    t.is(code, 2, err);
    return err;
  };
  const row = (text: unknown, label: unknown): string => JSON.stringify({ text, label });
  t.regex(
    await fails([row("a", 0), row("b", -1), row("c", 1.5), row("d", "x")]),
    /line 2: found label -1.*\n.*line 3: found label 1\.5.*\n.*line 4: found label "x"/,
  );
  t.regex(await fails([row("a", 0), row("b", undefined)]), /line 2: found no label, expected one/);
  t.regex(await fails([row("a", "x"), row("b", 3)]), /line 2: found label 3, expected text/);
  t.regex(await fails([row("a", 0), row(5, 1)]), /line 2: found a number in text, expected text/);
  t.regex(await fails([row("a", 0), row("b", 0)]), /found one label in all rows, 0, expected two/);
  t.regex(
    await fails(['{"question":"a","label":0}']),
    /found fields question, label, expected label and text and text_pair, or/,
  );
  t.regex(
    await fails([row("a", 0), row("b", 1)], "--peft_type=prefix").catch(String),
    /found virtual tokens, expected a method that changes weights/,
  );
  t.regex(
    await fails([row("a", 0), row("b", 1)], "--metric_for_best=recall", "--validation=0.5"),
    /found "recall", expected one of loss, accuracy, f1, f1_macro, mcc/,
  );
  const validation = join(folder, "validation.jsonl");
  await writeFile(validation, row("a", 2));
  t.regex(
    await fails([row("a", 0), row("b", 1)], `--validation=${validation}`),
    /validation\.jsonl, line 1: found label 2, expected a whole number from 0 to 1/,
  );
  t.false(existsSync(join(folder, "out")));
});
