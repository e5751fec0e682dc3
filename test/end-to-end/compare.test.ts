import { readFile, rm, stat, writeFile } from "node:fs/promises";
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
  t.regex(
    table.out,
    /# {2}method {2,}trainable +% +val\. loss +BoolQ .* accuracy +95 % interval +step/,
  );
  t.regex(
    table.out,
    /\n1 {2}lora +112 +\d\.\d{3} +\d\.\d{4} +75\.00 +- .* 75\.00\* +\d+\.\d\d – \d+/,
  );
  t.regex(table.out, new RegExp(`\\n1 {2}${basename(lora).replaceAll(".", "\\.")}\\n2 {2}`));

  const out = join(folder, "table.md");
  const markdown = await runHira("compare", lora, prefix, "--markdown", `--out=${out}`);
  t.is(markdown.code, 0, markdown.err);
  t.is(await readFile(out, "utf8"), markdown.out);
  t.regex(
    markdown.out,
    /^\| # \| method \| trainable \|.*\n\| ---: \| --- \| ---: \|.*\n\| 1 \| lora \| 112 \|/,
  );
});

test("hira compare warns where runs cannot be compared, and names folders that hold none", async (t) => {
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
  const { code, out, err } = await runHira("compare", a, b);
  t.is(code, 0, err);
  for (const line of [
    /! not comparable: the runs differ in data: rows\.jsonl \w{8} \(1\); other\.jsonl \w{8} \(2\)\n/,
    /! .* in seed: 1 \(1\); 2 \(2\)\n/,
    /! .* in batch: 2 x 1 \(1\); 1 x 1 \(2\)\n/,
    /! .* in steps: 4 \(1\); 2 \(2\)\n/,
    /! .* in mask and other --compat: ours \(1\); loss-mean \(2\)\n/,
    /! not finished \(no output\.jsonl\): 2; /,
    /\n2 {2}lora +- +- +\d/,
  ])
    t.regex(out, line);
  t.notRegex(out, /differ in model/);

  const refused = await runHira("compare", a, folder, join(folder, "nowhere"));
  t.is(refused.code, 2);
  t.regex(refused.err, /Cannot compare \S+, \S+nowhere: found neither run\.json nor output\.jsonl/);
  t.is((await runHira("compare")).code, 2);
});
