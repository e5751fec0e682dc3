import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { demoFolder } from "../../scripts/demo/paths.js";
import { readOutputJsonl } from "../../src/report/output-jsonl.js";
import { runFolderIn } from "../support/resumed-runs.js";
import { runHira } from "../support/run-hira.js";
import { makeTempFolder } from "../support/temp-folder.js";
import { tinyRunFlags, writeTinyRows } from "../support/tiny-runs.js";

const boolq = [`--model=${demoFolder}`, `--data_dir=${demoFolder}`, "--dataset=boolq"].concat(
  "--batch=16",
  "--limit=6",
);

const train = async (
  t: ExecutionContext,
  ...argv: readonly string[]
): Promise<{ readonly run: string; readonly err: string }> => {
  const { code, out, err } = await runHira(...argv);
  t.is(code, 0, err);
  return { run: runFolderIn(out), err };
};

const checkpointsIn = async (run: string): Promise<readonly string[]> =>
  (await readdir(run)).filter((name) => name.startsWith("checkpoint-"));

/** Answers of the model before anything is trained, by a method that starts as that model. */
const cases = [
  ["--epoch=0 of hira", ["--peft_type=hira", "--epoch=0"]],
  ["--max_steps=0 of lora", ["--peft_type=lora", "--max_steps=0", "--eval_strategy=no"]],
  ["--epoch=0 of fft", ["--peft_type=fft", "--epoch=0", "--eval_strategy=steps"]],
  [
    "--epoch=0 with a share of no steps",
    ["--peft_type=hira", "--epoch=0", "--eval_strategy=steps", "--eval_steps=0.5"],
  ],
] as const;
for (const [name, own] of cases)
  test(`${name} answers as the model stands, and --ckpt, score and compare take the run (9.25)`, async (t) => {
    const folder = await makeTempFolder(t);
    const { run } = await train(t, ...boolq, ...own, `--output_folder=${folder}`);
    t.deepEqual(await checkpointsIn(run), ["checkpoint-0"]);
    t.is(await readFile(join(run, "metrics.jsonl"), "utf8"), "");
    const { rows } = await readOutputJsonl(join(run, "output.jsonl"));
    t.is(rows.length, 6);

    const evaluated = await runHira(...boolq, `--ckpt=${run}`);
    t.is(evaluated.code, 0, evaluated.err);
    const answers = join(run, "output_-1_boolq_eval.jsonl");
    t.deepEqual((await readOutputJsonl(answers)).rows, rows);
    const scored = await runHira("score", run);
    t.is(scored.code, 0, scored.err);
    const compared = await runHira("compare", run);
    t.is(compared.code, 0, compared.err);

    // As if a kill had come while it answered.
    await rm(join(run, "output.jsonl"));
    await rm(answers);
    const again = await train(
      t,
      ...[...boolq, ...own, `--output_folder=${folder}`, `--resume=${run}`],
    );
    t.is(again.run, run);
    t.deepEqual((await readOutputJsonl(join(run, "output.jsonl"))).rows, rows);
    t.deepEqual(await checkpointsIn(run), ["checkpoint-0"]);
  });

test("--epoch=0 on rows of token ids needs no validation, and --epoch=-1 is refused (9.25)", async (t) => {
  const folder = await makeTempFolder(t);
  const rows = await writeTinyRows(folder);
  const flags = [...tinyRunFlags(rows)].filter((flag) => !/validation|eval_|max_steps/.test(flag));
  const argv = [...flags, "--peft_type=hira", `--output_folder=${join(folder, "runs")}`];
  const { run } = await train(t, ...argv, "--epoch=0");
  t.deepEqual(await checkpointsIn(run), ["checkpoint-0"]);
  for (const wrong of ["--epoch=-1", "--max_steps=-1"]) {
    const { code, err } = await runHira(...argv, wrong);
    t.is(code, 2);
    t.regex(err, /expected a (?:whole )?number of at least 0/);
  }
});

test("a run that ends before its first evaluation keeps its last weights (9.25)", async (t) => {
  const folder = await makeTempFolder(t);
  const flags = [...tinyRunFlags(await writeTinyRows(folder)), "--eval_steps=9"];
  const { run } = await train(t, ...flags, "--peft_type=hira", `--output_folder=${folder}/runs`);
  t.deepEqual(await checkpointsIn(run), ["checkpoint-4"]);
});

const choice = /test rows choose the best checkpoint/;
for (const [flags, isTold] of [
  [["--max_steps=2", "--eval_strategy=steps"], true],
  [["--max_steps=2", "--eval_strategy=no"], false],
  [["--epoch=0"], false],
  // The one checkpoint that there is.
  [["--max_steps=2", "--eval_strategy=epoch"], false],
  [["--max_steps=2", "--eval_strategy=steps", "--eval_steps=2"], false],
  [["--max_steps=2", "--eval_strategy=steps", "--compat=splits"], false],
] as const)
  test(`${flags.join(" ")} ${isTold ? "warns" : "does not warn"} that test rows choose (9.36)`, async (t) => {
    const folder = await makeTempFolder(t);
    const { err } = await train(
      t,
      ...[...boolq, "--peft_type=hira", "--r_ab=2", `--output_folder=${folder}`, ...flags],
      "--dataset_ratio=0.1",
    );
    t.is(choice.test(err), isTold, err);
  });
