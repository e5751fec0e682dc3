import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { readArguments } from "../../src/cli/arguments.js";
import { commands } from "../../src/cli/commands.js";
import { sweepCommand } from "../../src/cli/commands/sweep.js";
import { foreignNameHint } from "../../src/cli/foreign-names.js";
import { trainFlags } from "../../src/cli/train-flags.js";
import { runMain, runTrain } from "./support.js";

process.setMaxListeners(0);

// TrainingArguments, GenerationConfig, peft, TRL, LLaMA-Factory, alpaca-lora.
const usual: Readonly<Record<string, string>> = {
  learning_rate: "lr",
  per_device_train_batch_size: "batch",
  batch_size: "batch",
  micro_batch_size: "batch",
  gradient_accumulation_steps: "grad_acc",
  num_train_epochs: "epoch",
  num_epochs: "epoch",
  epochs: "epoch",
  lora_r: "r_ab",
  r: "r_ab",
  lora_rank: "r_ab",
  rank: "r_ab",
  lora_target: "target_modules",
  lora_target_modules: "target_modules",
  warmup_steps: "warmup",
  warmup_ratio: "warmup",
  model_name_or_path: "model_name",
  base_model: "model_name",
  output_dir: "output_folder",
  num_beams: "beam_size",
  gradient_checkpointing: "enable_grad_ckpt",
  logging_steps: "log_steps",
  bf16: "precision",
  fp16: "precision",
  evaluation_strategy: "eval_strategy",
  save_steps: "eval_steps",
  deepspeed: "ds_config",
  finetuning_type: "peft_type",
  quantization_bit: "load_bit",
  load_in_4bit: "load_bit",
  num_virtual_tokens: "virtual_tokens",
  early_stopping_patience: "early_stop_patience",
  max_tokens: "max_new_tokens",
  adapter_name_or_path: "ckpt",
  dataloader_num_workers: "num_workers",
  run_name: "exp_name",
  optimizer: "optim",
  data_path: "dataset",
};

test("names of Hugging Face, TRL, peft and LLaMA-Factory are told by ours, on the line (9.35)", async (t) => {
  for (const [name, ours] of Object.entries(usual))
    for (const line of [
      [`--${name}=1`],
      [`--${name}`, "1"],
      [`--${name.replaceAll("_", "-")}=1`],
    ]) {
      const { code, stderr } = await runTrain(["--peft_type=hira", ...line]);
      t.is(code, 2, name);
      const typed = line[0]?.split("=")[0] ?? "";
      t.regex(stderr, new RegExp(`Did you mean "--${ours}(=\\w+)?"\\? It is ${typed} elsewhere`));
    }
  const { stderr } = await runTrain(["--warmup_ratio=0.1", "--load_in_8bit", "--cutoff_len=256"]);
  t.regex(
    stderr,
    /Did you mean "--warmup"\? It is --warmup_ratio elsewhere, and here a number of updates, not/,
  );
  t.regex(stderr, /Did you mean "--load_bit=8"\? It is --load_in_8bit elsewhere\n/);
  t.regex(
    stderr,
    /There is no flag for --cutoff_len: the data set's table has the longest context/,
  );
});

test("the same in --config and sweep files (9.35)", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "hira-names-"));
  const config = join(folder, "run.yaml");
  const names = Object.keys(usual);
  await writeFile(config, names.map((name) => `${name}: 1\n`).join(""));
  const run = await runTrain([`--config=${config}`]);
  t.is(run.code, 2);
  const sweep = join(folder, "study.yaml");
  await writeFile(
    sweep,
    `base: {learning_rate: 1}\nmatrix: {lora_rank: [4, 8]}\ninclude: [{num_train_epochs: 1}]\nevaluate: {num_beams: 4}\n`,
  );
  const study = await runMain(["sweep", sweep, "--dry_run"], [sweepCommand(() => [])]);
  t.is(study.code, 2);
  for (const [name, ours] of Object.entries(usual))
    t.regex(run.stderr, new RegExp(`Did you mean "${ours}(: \\w+)?"\\? It is ${name} elsewhere`));
  for (const words of [
    'Did you mean "lr"? It is learning_rate elsewhere',
    'Did you mean "r_ab"? It is lora_rank elsewhere',
    'Did you mean "epoch"? It is num_train_epochs elsewhere',
    'Did you mean "beam_size"? It is num_beams elsewhere',
  ])
    t.true(study.stderr.includes(words), study.stderr);
});

test("a usual name is told only where the command has the flag, and is no beginning of ours (9.35)", async (t) => {
  const score = await runMain(["score", "--learning_rate=1", "x"], commands);
  t.is(score.code, 2);
  t.notRegex(score.stderr, /--lr|elsewhere/);
  const generate = await runMain(["generate", "--num_beams=2", "--max_length=9"], commands);
  t.regex(generate.stderr, /"--beam_size"\? It is --num_beams elsewhere/);
  t.regex(generate.stderr, /There is no flag for --max_length: /);
  const { faults } = readArguments(["--rank=8", "-r", "8"], trainFlags);
  t.deepEqual(
    faults.map(({ hint }) => hint),
    ['Did you mean "--r_ab"? It is --rank elsewhere', 'Did you mean "--r_ab"? It is --r elsewhere'],
  );
});

test("no usual name is one of our flags, or stands for a flag that no command has (9.35)", (t) => {
  for (const { name, flags } of commands)
    for (const flag of Object.keys(flags))
      t.is(foreignNameHint(flag, flags, "--"), undefined, name);
  t.is(foreignNameHint("peft-type", trainFlags, "--"), 'Did you mean "--peft_type"?');
  t.is(foreignNameHint("constructor", trainFlags, "--"), undefined);
});

test("hira help, hira help COMMAND and hira COMMAND help are --help (9.35)", async (t) => {
  const run = (...argv: readonly string[]) => runMain(argv, commands);
  t.deepEqual(await run("help"), await run("--help"));
  t.is((await run("help")).code, 0);
  for (const { name } of commands) {
    const words = name.split(" ");
    const asked = await run(...words, "--help");
    t.is(asked.code, 0);
    t.regex(asked.stdout, new RegExp(`^Usage: hira ${name}`));
    t.deepEqual(await run("help", ...words), asked, name);
    t.deepEqual(await run(...words, "help"), asked, name);
  }
  for (const line of [
    ["help", "data"],
    ["data", "help"],
  ])
    t.deepEqual(await run(...line), await run("data", "--help"));
  t.deepEqual(await run("help", "help"), await run("--help"));
  const unknown = await run("help", "trian");
  t.is(unknown.code, 2);
  t.regex(unknown.stderr, /Cannot run "trian": .*\n {2}Did you mean "train"\?/);
  t.regex((await run("--help")).stdout, /"hira help <command>"/);
});
