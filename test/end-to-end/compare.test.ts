import { copyFile, cp, mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import test from "ava";
import { readMetrics } from "../../src/report/metrics.js";
import { runHira } from "../support/run-hira.js";
import { makeTempFolder } from "../support/temp-folder.js";
import { tinyRunFlags, trainTiny, writeTinyRows } from "../support/tiny-runs.js";

/** An evaluation file with so many of four answers right. */
const writeAnswers = (run: string, set: string, right: number): Promise<void> => {
  const rows = Array.from({ length: 4 }, (_, i) => ({
    context: `${String(i)}?`,
    pred: i < right ? "true" : "false",
    gt: "true",
  }));
  const lines = [{ dataset: set }, "\n", {}, {}, ...rows].map((row) => JSON.stringify(row));
  return writeFile(join(run, `output_-1_${set}_eval.jsonl`), `${lines.join("\n")}\n`);
};

test("hira compare shows what runs have written, and - for the rest", async (t) => {
  const folder = await makeTempFolder(t);
  const flags = tinyRunFlags(await writeTinyRows(folder));
  const lora = await trainTiny(t, join(folder, "a"), "--peft_type=lora", ...flags);
  const prefix = await trainTiny(t, join(folder, "b"), "--peft_type=prefix", ...flags);
  await writeAnswers(lora, "boolq", 3);

  const asJson = await runHira("compare", lora, prefix, "--json");
  t.is(asJson.code, 0, asJson.err);
  const { runs, warnings } = JSON.parse(asJson.out) as {
    readonly runs: readonly Readonly<Record<string, unknown>>[];
    readonly warnings: readonly string[];
  };
  t.deepEqual(warnings, []);
  const metrics = await readMetrics(join(lora, "metrics.jsonl"));
  const times = metrics.map(({ stepMs }) => stepMs).sort((a, b) => a - b);
  const best = JSON.parse(await readFile(join(lora, "best.json"), "utf8")) as {
    readonly checkpoint: string;
    readonly step: number;
    readonly eval_loss: number;
  };
  t.is(metrics.length, 4);
  t.like(runs[0], {
    method: "lora",
    finished: true,
    // q_proj [8, 8] and v_proj [4, 8] of two layers at rank 2.
    trainable: 2 * (2 * (8 + 8) + 2 * (8 + 4)),
    eval_loss: best.eval_loss,
    eval_step: best.step,
    steps: 4,
    median_step_ms: ((times[1] ?? NaN) + (times[2] ?? NaN)) / 2,
    tokens_per_second:
      (1000 * metrics.reduce((sum, { tokens }) => sum + tokens, 0)) /
      metrics.reduce((sum, { stepMs }) => sum + stepMs, 0),
    peak_memory_bytes: Math.max(...metrics.map(({ peakMemoryBytes }) => peakMemoryBytes ?? NaN)),
    adapter_bytes: (await stat(join(lora, best.checkpoint, "adapter_model.safetensors"))).size,
  });
  t.like(runs[0]?.accuracy, { accuracy: 75, sets: 1 });
  t.like(runs[1], { method: "prefix", accuracy: null, sets: {} });
  t.true(Number(runs[0]?.peak_memory_bytes) > 2 ** 20);

  const table = await runHira("compare", lora, prefix, "--per_set");
  t.is(table.code, 0, table.err);
  // Cut where 80 columns end; the name tells the method.
  t.regex(table.out, /^# {2}run +rank +trainable +% +val\. loss +BoolQ/);
  t.regex(table.out, /\n1 {2}peft_type=lora +2 +112 +\d\.\d{3} +\d\.\d{4} +75\.00/);
  t.regex(table.out, /\n2 {2}peft_type=prefix +- +\d+ /);
  t.regex(table.out, /\n1 .* 75\.00\* +\d+\.\d\d – \d+/);
  t.regex(table.out, new RegExp(`\\n1 {2}${basename(lora).replaceAll(".", "\\.")}\\n2 {2}`));
  t.true(
    table.out.split("\n").every(({ length }) => length <= 80),
    table.out,
  );

  const out = join(folder, "table.md");
  const markdown = await runHira("compare", lora, prefix, "--markdown", `--out=${out}`);
  t.is(markdown.code, 0, markdown.err);
  t.is(await readFile(out, "utf8"), markdown.out);
  t.regex(
    markdown.out,
    /^\| # \| run \| rank \| trainable \|.*\n\| ---: \| --- \| ---: \|.*\n\| 1 \| peft_type=lora \| 2 \| 112 \|/,
  );
});

test("hira compare warns where runs cannot be compared, and refuses what holds none", async (t) => {
  const folder = await makeTempFolder(t);
  const rows = await writeTinyRows(folder);
  const flags = [...tinyRunFlags(rows), "--peft_type=lora"];
  const a = await trainTiny(t, join(folder, "a"), ...flags, "--seed=1");
  const other = join(folder, "other.jsonl");
  await writeFile(other, (await readFile(rows, "utf8")).split("\n").slice(1).join("\n"));
  const b = await trainTiny(
    t,
    join(folder, "b"),
    ...[...flags, `--dataset=${other}`, "--seed=2", "--batch=1", "--max_steps=2"],
    "--compat=loss-mean",
  );
  await rm(join(b, "output.jsonl"));
  const { code, out: wrapped, err } = await runHira("compare", a, b);
  t.is(code, 0, err);
  t.true(
    wrapped.split("\n").every(({ length }) => length <= 80),
    wrapped,
  );
  const out = wrapped.replaceAll("\n  ", " ");
  for (const line of [
    /! not comparable: the runs differ in data: rows\.jsonl \w{8} \(1\); other\.jsonl \w{8} \(2\)\n/,
    /! .* in seed: 1 \(1\); 2 \(2\)\n/,
    /! .* in batch: 2 x 1 \(1\); 1 x 1 \(2\)\n/,
    /! .* in steps: 4 \(1\); 2 \(2\)\n/,
    /! .* in mask and other --compat: ours \(1\); loss-mean \(2\)\n/,
    /! not finished \(no output\.jsonl\): 2; /,
    /\n2 +lora +2 +- +- +\d/,
  ])
    t.regex(out, line);
  t.notRegex(out, /differ in model/);

  const refused = await runHira("compare", rows, join(folder, "nowhere"));
  t.is(refused.code, 2);
  t.regex(
    refused.err,
    /Cannot compare runs: found rows\.jsonl \(a file\); nowhere \(no such file or folder\), expected/,
  );
  t.is((await runHira("compare")).code, 2);
});

test("hira compare and hira score take what they can of results_hira/*, and name the rest in one line (9.23)", async (t) => {
  const folder = await makeTempFolder(t);
  const flags = [...tinyRunFlags(await writeTinyRows(folder)), "--max_steps=1", "--eval_steps=1"];
  const results = join(folder, "results_hira");
  const run = await trainTiny(t, results, "--peft_type=lora", ...flags);
  await writeAnswers(run, "boolq", 3);
  // A sweep's runs lie two folders deeper.
  const deep = join(folder, "sweep/study/peft_type=hira");
  const other = await trainTiny(t, deep, "--peft_type=hira", ...flags);
  await writeAnswers(other, "boolq", 2);
  t.is((await runHira("score", results, "--csv")).code, 0);
  await mkdir(join(results, "notes"));
  const begun = join(results, "begun");
  await mkdir(begun);
  await copyFile(join(run, "run.json"), join(begun, "run.json"));
  const torn = join(results, "torn");
  await cp(run, torn, { recursive: true });
  await writeFile(join(torn, "best.json"), "{");
  await writeFile(join(torn, "output_-1_boolq_eval.jsonl"), "{}\n{\n{}\n");

  const words = (await readdir(results)).sort().map((name) => join(results, name));
  t.true(words.some((name) => name.endsWith(".csv")));
  type Json = { readonly runs: readonly object[]; readonly left_out: readonly object[] };
  const compare = async (...given: readonly string[]) => {
    const { code, out, err } = await runHira("compare", ...given, "--json");
    t.is(code, 0, err);
    return { err, json: JSON.parse(out) as Json };
  };
  const glob = await compare(...words, join(folder, "nowhere"));
  t.is(glob.json.runs.length, 1);
  t.is(glob.json.left_out.length, 6);
  t.is(glob.err.trimEnd().split("\n").length, 1);
  for (const part of [
    /^warning: left out: /,
    /notes \(no run in it\)/,
    /results_boolq\.csv, results_hira_results_all\.csv \(a table of scores\)/,
    /begun \(not finished, no step yet\)/,
    /Cannot read \S+torn\/best\.json/,
    /nowhere \(no such file or folder\)/,
  ])
    t.regex(glob.err, part);
  // Folders of runs, nested ones too; a run that is met twice counts once.
  const parents = await compare(results, join(folder, "sweep"), run, `${run}/`);
  t.is(parents.json.runs.length, 2);
  t.regex(
    parents.err,
    /^warning: left out: notes \(no run in it\); begun \(.*; Cannot read \S+torn\/best\.json, [^\n]*\n$/,
  );
  const checkpoint = await runHira("compare", join(run, "checkpoint-1"));
  t.is(checkpoint.code, 2);
  t.regex(checkpoint.err, /checkpoint-1 \(a checkpoint, not its run's folder\)/);

  const score = await runHira(
    "score",
    ...words,
    join(run, "run.json"),
    join(folder, "sweep"),
    "--json",
  );
  t.is(score.code, 0, score.err);
  t.is((JSON.parse(score.out) as object[]).length, 2);
  for (const part of [
    /^warning: left out: [^\n]+\n$/,
    /begun, notes \(no answers named after a set\)/,
    /results_boolq\.csv, results_hira_results_all\.csv \(a table of scores\)/,
    /run\.json \(a file of a run, not its folder\)/,
    /Cannot \S+ \S+torn\/output_-1_boolq_eval\.jsonl, line 2/,
  ])
    t.regex(score.err, part);
  const nothing = await runHira("score", begun, join(results, "notes"));
  t.is(nothing.code, 2);
  t.regex(
    nothing.err,
    /Cannot score: found begun, notes \(no answers named after a set\), expected/,
  );
});
