import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { parse } from "yaml";
import { writeRunConfig } from "../../src/report/run-config.js";
import { makeFolder } from "../support/make-folder.js";
import { runMain, runTrain, type TrainRun } from "./support.js";

/** Runs `hira train` with a --config file of these lines, up to the point where the library would start. */
const train = async (
  t: ExecutionContext,
  lines: readonly string[],
  ...argv: readonly string[]
): Promise<TrainRun> => {
  const folder = await makeFolder(t, { "run.yaml": `${lines.join("\n")}\n` });
  return runTrain([`--config=${join(folder, "run.yaml")}`, ...argv]);
};

test("--config gives flags their values, and the command line counts before it", async (t) => {
  const lines = [
    "# LoRA on the commonsense data",
    "peft_type: lora",
    "lr: 1e-3",
    "batch: 4",
    "target_modules: [q_proj, up_proj]",
    "layers: [0, 2-5]",
    "compat: [pad, seed]",
    "shuffle: false",
    "enable_grad_ckpt: true",
    "rand_R: false",
    "do_sample: true",
    "eval_strategy: no",
    "load_order: -2",
    "seed: null",
  ];
  const { code, stderr, work, options } = await train(t, lines, "--batch=8", "--lr", "0.5");
  t.is(code, 0, stderr);
  t.is(work, "train");
  t.like(options, {
    peftType: "lora",
    batch: 8,
    lr: 0.5,
    targetModules: "q_proj,up_proj",
    layers: [0, 2, 3, 4, 5],
    compat: new Set(["pad", "seed"]),
    shuffle: false,
    enableGradCkpt: true,
    randomR: false,
    doSample: true,
    evalStrategy: "no",
    loadOrder: -2,
    seed: undefined,
    rank: 16,
  });
  t.false("config" in (options?.flags ?? {}));
});

test("--no_ before a switch's name takes back what the file sets", async (t) => {
  const lines = ["enable_grad_ckpt: true", "do_sample: true"];
  const { options } = await train(t, ["peft_type: lora", ...lines], "--no_enable_grad_ckpt");
  t.like(options, { enableGradCkpt: false, doSample: true });
});

test("--config tells all faults at once, with lines and suggestions", async (t) => {
  const lines = [
    "peft_type: lroa", // 1
    "lerning_rate: 3",
    "model: tiny", // 3
    "lr: fast",
    "batch: 2.5", // 5
    "shuffle: yes",
    "enable_grad_ckpt: 1", // 7
    "exp_name: 7",
    "epoch: null", // 9
    "eval_strategy: steps",
    "eval_steps: 2.5", // 11
    "dataset: {name: boolq}",
    "max_steps: -1", // 13
    "config: other.yaml",
  ];
  const { code, stderr } = await train(t, lines, "--r_ab=0");
  t.is(code, 2);
  const expected = [
    /Cannot run "hira train": found 14 faults\n/,
    / --r_ab: found 0, expected a whole number of at least 1\n/,
    / peft_type \(\S+run\.yaml, line 1\): found "lroa", expected hira, lora, /,
    / "lerning_rate" \(\S+, line 2\): found an unknown name, expected a flag of this command, without its dashes\n/,
    / "model" \(\S+, line 3\): found an unknown name/,
    /\n {2}Did you mean "model_name"\?\n/,
    / lr \(\S+, line 4\): found "fast", expected a number\n/,
    / batch \(\S+, line 5\): found "2\.5", expected a whole number of at least 1\n/,
    / shuffle \(\S+, line 6\): found "yes", expected true or false\n/,
    / enable_grad_ckpt \(\S+, line 7\): found 1, expected true or false\n/,
    / exp_name \(\S+, line 8\): found 7, expected text, in quotes\n/,
    / epoch \(\S+, line 9\): found null, expected a number\n/,
    / eval_steps \(\S+, line 11\): found 2\.5, expected a whole number of updates, or a share below 1\n/,
    / dataset \(\S+, line 12\): found {"name":"boolq"}, expected text, in quotes\n/,
    / max_steps \(\S+, line 13\): found -1, expected a whole number of at least 0\n/,
    / "config" \(\S+, line 14\): found an unknown name/,
  ];
  for (const line of expected) t.regex(stderr, line);
});

test("--config reports YAML that is broken or no map, with the line", async (t) => {
  const broken = await train(t, ["lr: 1", "lr: 2", "a: [1"]);
  t.is(broken.code, 2);
  t.regex(
    broken.stderr,
    /Cannot read \S+run\.yaml as YAML: found \d faults\n {2}line 2, column 1: /,
  );
  t.regex((await train(t, ["- lr"])).stderr, /run\.yaml: found \["lr"\], expected a flag and its/);
  const missing = await runTrain(["--config=/nowhere/run.yaml"]);
  t.is(missing.code, 2);
  t.regex(missing.stderr, /Cannot read \/nowhere\/run\.yaml: found no such file/);
  t.is((await train(t, [], "--peft_type=lora")).options?.peftType, "lora");
});

test("--config works for every command, with anchors and aliases", async (t) => {
  const rows = JSON.stringify(Array.from({ length: 6 }, (_, i) => ({ input: String(i) })));
  const folder = await makeFolder(t, { "rows.json": rows });
  await writeFile(
    join(folder, "split.yaml"),
    `out: &folder ${folder}\ninput: ${folder}/rows.json\nhold_out: 2\n`,
  );
  const { code, stdout, stderr } = await runMain([
    "data",
    "split",
    "--config",
    join(folder, "split.yaml"),
  ]);
  t.is(code, 0, stderr);
  t.regex(stdout, /train\.json {2}4 rows/);
  t.regex(
    (await runMain(["score", "--help"])).stdout,
    /--config <file> +YAML file of this command's flags/,
  );
});

test("config.yaml of a run gives its flags again, all of them", async (t) => {
  const argv = [
    "--peft_type=hira",
    "--model=tiny",
    "--lr=3e-7",
    "--exp_name=007",
    "--rand_R",
    "--seed=36",
  ];
  const { options } = await runTrain([...argv, "--target_modules=q_proj, v_proj"]);
  const folder = await makeFolder(t, {});
  await writeRunConfig(folder, options?.flags ?? {});
  const path = join(folder, "config.yaml");
  t.deepEqual(parse(await readFile(path, "utf8")), { ...options?.flags });
  const again = await runTrain([`--config=${path}`]);
  t.is(again.code, 0, again.stderr);
  // Each value of the file was written, where the line had left some at their defaults.
  const bare = { givenFlags: {}, typed: new Set() };
  t.deepEqual({ ...again.options, ...bare }, { ...options, ...bare });
});
