import { readdir } from "node:fs/promises";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { sweepCommand } from "../../src/cli/commands/sweep.js";
import { makeFolder } from "../support/make-folder.js";
import { runMain, type MainResult } from "./support.js";

/** `hira sweep --dry_run` of a file with these lines, in a new folder. */
const dryRun = async (t: ExecutionContext, lines: readonly string[]): Promise<MainResult> => {
  const folder = await makeFolder(t, { "study.yaml": `${lines.join("\n")}\n` });
  return runMain(
    ["sweep", join(folder, "study.yaml"), "--dry_run", `--out=${join(folder, "out")}`],
    [sweepCommand(() => [])],
  );
};

/** The command lines of a dry run, without their output folders. */
const linesOf = ({ stdout }: MainResult): readonly string[] =>
  stdout
    .trim()
    .split("\n")
    .map((line) => line.replace(/ --output_folder=\S+out\//, " in "));

test("hira sweep runs every combination of the matrix", async (t) => {
  const run = await dryRun(t, [
    "base: {model_name: tiny, lr: 1e-3, target_modules: [q_proj, v_proj]}",
    "matrix:",
    "  peft_type: [lora, hira]",
    "  r_ab: [4, 8]",
    "  rand_R: [false, true]",
    "exclude:",
    "  - {peft_type: lora, rand_R: true}",
    "  - {r_ab: 8, rand_R: true}",
    "evaluate: {dataset: common_all, beam_size: 4}",
  ]);
  t.is(run.code, 0, run.stderr);
  const common = "hira train --model_name=tiny --lr=0.001 --target_modules=q_proj,v_proj";
  const answers = "hira train --dataset=common_all --beam_size=4 --ckpt=RUN";
  t.deepEqual(linesOf(run), [
    "# peft_type=lora,r_ab=4,rand_R=false",
    `${common} --peft_type=lora --r_ab=4 in peft_type=lora,r_ab=4,rand_R=false`,
    answers,
    "# peft_type=lora,r_ab=8,rand_R=false",
    `${common} --peft_type=lora --r_ab=8 in peft_type=lora,r_ab=8,rand_R=false`,
    answers,
    "# peft_type=hira,r_ab=4,rand_R=false",
    `${common} --peft_type=hira --r_ab=4 in peft_type=hira,r_ab=4,rand_R=false`,
    answers,
    "# peft_type=hira,r_ab=4,rand_R",
    `${common} --peft_type=hira --r_ab=4 --rand_R in peft_type=hira,r_ab=4,rand_R`,
    answers,
    "# peft_type=hira,r_ab=8,rand_R=false",
    `${common} --peft_type=hira --r_ab=8 in peft_type=hira,r_ab=8,rand_R=false`,
    answers,
  ]);
});

test("hira sweep: include adds settings to what it agrees with, else a run of its own", async (t) => {
  const run = await dryRun(t, [
    "base: {model_name: tiny}",
    "matrix: {peft_type: [lora, mora]}",
    "include:",
    "  - {peft_type: lora, lr: 3e-4}",
    "  - {peft_type: fft, lr: 1e-5, exp_name: 'all weights'}",
  ]);
  t.is(run.code, 0, run.stderr);
  t.deepEqual(
    linesOf(run)
      .filter((line) => line.startsWith("hira"))
      .map((line) => line.replace(/-\w{8}$/, "-HASH")),
    [
      "hira train --model_name=tiny --peft_type=lora --lr=0.0003 in peft_type=lora,lr=0.0003",
      "hira train --model_name=tiny --peft_type=mora in peft_type=mora",
      "hira train --model_name=tiny --peft_type=fft --lr=0.00001 '--exp_name=all weights' in peft_type=fft,lr=0.00001,exp_name=all_weights-HASH",
    ],
  );
});

test("hira sweep tells all faults of its file at once, before any run", async (t) => {
  const { code, stderr } = await dryRun(t, [
    "base:", // 1
    "  learning_rate: 1", // 2
    "  early_stop_patience: 2", // 3
    "  output_folder: x", // 4
    "matrx: {}", // 5
    "matrix:", // 6
    "  peft_type: [lora, loar]", // 7
    "  eval_strategy: [epoch, no]", // 8
    "  batch: 4", // 9
    "  seed: [1, 1]", // 10
    "exclude: [{lr: 1}]", // 11
    "include: {lr: 1}", // 12
    "evaluate: {beam_size: 0, sparsity: 2}", // 13
  ]);
  t.is(code, 2);
  for (const line of [
    /Cannot run "hira sweep": found \d+ faults\n/,
    / "learning_rate" \(\S+study\.yaml, line 2\): found an unknown name/,
    / "output_folder" \(\S+, line 4\): found an unknown name/,
    / "matrx" \(\S+, line 5\): found an unknown section, expected base, matrix, include, exclude, evaluate\n/,
    / peft_type \(\S+, line 7\): found "loar", expected hira, lora/,
    / early_stop_patience \(\S+, line 3\): found 2 with --eval_strategy no, expected/,
    / batch \(\S+, line 9\): found 4, expected a list of values\n/,
    / seed \(\S+, line 10\): found 1 twice, expected it once\n/,
    / lr \(\S+, line 11\): found it in exclude, expected a name of the matrix\n/,
    / include \(\S+, line 12\): found {"lr":1}, expected a list of flags with values\n/,
    / beam_size \(\S+, line 13\): found 0, expected a whole number of at least 1\n/,
    / sparsity \(\S+, line 13\): found 2, expected a share below 1\n/,
    /Did you mean "matrix"\?/,
  ])
    t.regex(stderr, line);
  t.is(stderr.split("early_stop_patience").length, 2, "a fault that several runs share, once");
  t.regex((await dryRun(t, ["matrix: {seed: [1]}"])).stderr, /--peft_type: found nothing/);
  t.regex((await dryRun(t, ["- 1"])).stderr, /found a list, expected base, matrix/);
});

test("the sweeps in scripts/sweeps are good", async (t) => {
  const names = await readdir("scripts/sweeps");
  t.true(names.length > 0);
  for (const name of names) {
    const out = `--out=${join(await makeFolder(t, {}), "out")}`;
    const run = await runMain(
      ["sweep", join("scripts/sweeps", name), "--dry_run", out],
      [sweepCommand(() => [])],
    );
    t.is(run.code, 0, run.stderr);
    t.true(run.stdout.split("\n# ").length > 3, name);
  }
});
