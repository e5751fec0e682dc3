import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import { demoFolder } from "../../scripts/demo/paths.js";
import { readOutputJsonl } from "../../src/report/output-jsonl.js";
import { runHira } from "../support/run-hira.js";
import { makeTempFolder } from "../support/temp-folder.js";

const DATA = [`--data_dir=${demoFolder}`, "--limit=4"];

test("a run on the demo writes its folder, is answered with --ckpt, skipped the second time, and scored", async (t) => {
  const folder = await makeTempFolder(t);
  const trained = await runHira(
    ...[
      "--peft_type=hira",
      `--model=${demoFolder}`,
      "--dataset=common_170k",
      "--r_ab=4",
      "--seed=36",
    ],
    ...["--batch=8", "--lr=1e-3", "--max_steps=4", "--eval_strategy=steps", "--eval_steps=2"],
    ...["--exp_name=try", `--output_folder=${folder}`, ...DATA],
  );
  t.is(trained.code, 0, trained.err);
  t.regex(trained.out, /trainable params: \d+ \|\| all params: \d+ \|\| trainable%: /);
  const [run = ""] = await readdir(folder);
  t.regex(
    run,
    /^demo-common_170k-hira-lr=1\.00e-03-r_ab=4-init=kz-train=yy-seed=36-try-\d{4}(-\d\d){5}$/,
  );
  const path = join(folder, run);
  const names = await readdir(path);
  for (const name of ["run.json", "metrics.jsonl", "output.jsonl", "runs", "best.json"])
    t.true(names.includes(name), name);
  const metrics = (await readFile(join(path, "metrics.jsonl"), "utf8")).trim().split("\n");
  t.is(metrics.length, 4);
  const { flags, adapterConfig, rows } = await readOutputJsonl(join(path, "output.jsonl"));
  t.is(flags.peft_type, "hira");
  t.is(adapterConfig?.r_ab, 4);
  t.is(rows.length, 4);

  const ask = ["--dataset=common_all", "--beam_size=2", "--batch=16", `--ckpt=${path}`, ...DATA];
  const asked = await runHira(...ask);
  t.is(asked.code, 0, asked.err);
  t.true((await readdir(path)).includes("output_-1_winog_beam=2_eval.jsonl"));
  const again = await runHira(...ask);
  t.is(again.code, 0, again.err);
  t.is(again.out.match(/File exists, skipped\./g)?.length, 8);

  const scored = await runHira("score", path);
  t.is(scored.code, 0, scored.err);
  t.regex(scored.out, /BoolQ[^\n]* 4\n/);
});

test("the same seed gives the same adapter, byte for byte", async (t) => {
  const folder = await makeTempFolder(t);
  const train = async (name: string): Promise<Buffer> => {
    const out = join(folder, name);
    const { code, err } = await runHira(
      ...["--peft_type=hira", `--model=${demoFolder}`, "--dataset=common_170k", "--r_ab=4"],
      ...["--seed=7", "--batch=8", "--lr=1e-2", "--max_steps=5", "--eval_strategy=no"],
      ...[`--output_folder=${out}`, `--data_dir=${demoFolder}`, "--limit=1"],
    );
    t.is(code, 0, err);
    const [run = ""] = await readdir(out);
    return readFile(join(out, run, "checkpoint-5", "adapter_model.safetensors"));
  };
  t.deepEqual(await train("first"), await train("second"));
});

test("the loss without padding to full columns is the loss with them", async (t) => {
  const folder = await makeTempFolder(t);
  const losses = async (name: string, ...flags: readonly string[]): Promise<readonly number[]> => {
    const out = join(folder, name);
    const { code, err } = await runHira(
      ...["--peft_type=hira", `--model=${demoFolder}`, "--dataset=common_170k", "--r_ab=4"],
      ...["--seed=7", "--batch=8", "--lr=1e-2", "--max_steps=3", "--eval_strategy=no"],
      ...["--shuffle=false", `--output_folder=${out}`, `--data_dir=${demoFolder}`, "--limit=1"],
      ...flags,
    );
    t.is(code, 0, err);
    const [run = ""] = await readdir(out);
    const lines = (await readFile(join(out, run, "metrics.jsonl"), "utf8")).trim().split("\n");
    return lines.map((line) => (JSON.parse(line) as { loss: number }).loss);
  };
  const padded = await losses("padded", "--compat=pad");
  for (const [i, loss] of (await losses("narrow")).entries())
    t.true(Math.abs(loss / (padded[i] ?? NaN) - 1) < 1e-5, `step ${String(i + 1)}`);
});
