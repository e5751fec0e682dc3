import { chmod, cp, mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { demoFolder } from "../../scripts/demo/paths.js";
import { runFolderIn } from "../support/resumed-runs.js";
import { runHira } from "../support/run-hira.js";
import { startHira } from "../support/start-hira.js";
import { makeTempFolder } from "../support/temp-folder.js";

const asked = [`--data_dir=${demoFolder}`, "--dataset=boolq", "--beam_size=1", "--limit=2"];
const name = "output_-1_boolq_beam=1_eval.jsonl";

const trainRun = async (t: ExecutionContext, folder: string): Promise<string> => {
  const { code, out, err } = await runHira(
    ...["--peft_type=hira", `--model=${demoFolder}`, ...asked, "--r_ab=2", "--max_steps=1"],
    ...["--eval_strategy=no", `--output_folder=${folder}`],
  );
  t.is(code, 0, err);
  return runFolderIn(out);
};

const filesBelow = async (folder: string): Promise<readonly string[]> =>
  (await readdir(folder, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .sort();

test("--output_folder and --output_file put the answers of --ckpt elsewhere, and the run stays as it was (9.16)", async (t) => {
  const folder = await makeTempFolder(t);
  const run = await trainRun(t, join(folder, "runs"));
  const before = await filesBelow(run);
  const base = run.split("/").at(-1) ?? "";
  const elsewhere = join(folder, "elsewhere");

  const ask = [...asked, `--ckpt=${run}`];
  const moved = await runHira(...ask, `--output_folder=${elsewhere}`);
  t.is(moved.code, 0, moved.err);
  t.deepEqual(await filesBelow(elsewhere), [join(base, name)]);
  const [checkpoint = ""] = before.filter((file) => file.startsWith("checkpoint-"));
  const one = checkpoint.split("/")[0] ?? "";
  const ofOne = await runHira(
    ...[...asked, `--ckpt=${join(run, one)}`, `--output_folder=${elsewhere}`],
  );
  t.is(ofOne.code, 0, ofOne.err);
  t.deepEqual(await filesBelow(elsewhere), [join(base, one, name), join(base, name)]);
  const again = await runHira(...ask, `--output_folder=${elsewhere}`);
  t.regex(again.out, /File exists, skipped/);

  const file = join(folder, "one", "answers.jsonl");
  const named = await runHira(...ask, `--output_file=${file}`, "--compute_norm");
  t.is(named.code, 0, named.err);
  t.deepEqual(await filesBelow(join(folder, "one")), ["answers.jsonl", "answers_adapter.json"]);
  t.deepEqual(await filesBelow(run), before);

  // train_hira.py takes the folder in training alone.
  const asThere = await runHira(...ask, `--output_folder=${elsewhere}`, "--compat=names");
  t.regex(asThere.err, /Without effect here: --output_folder \(with --compat=names\)/);
  t.deepEqual(await filesBelow(run), [...before, name].sort());
});

test("--output_file is for one set, and beside --ckpt (9.16)", async (t) => {
  const all = await runHira("--dataset=common_all", "--ckpt=RUN", "--output_file=answers.jsonl");
  t.is(all.code, 2);
  t.regex(all.err, /--output_file: found --dataset common_all beside it/);
  const training = await runHira("--peft_type=hira", "--model=M", "--output_file=answers.jsonl");
  t.regex(training.err, /--output_file \(without --ckpt\): found a flag without effect/);
  const both = await runHira("--ckpt=no", "--output_file=a.jsonl", "--output_folder=b");
  t.regex(both.err, /Without effect here: --output_folder \(with --output_file=a\.jsonl\)/);
});

test("nothing is written into a plain model's folder, and answers of two models of one name do not mix (9.16)", async (t) => {
  const folder = await makeTempFolder(t);
  for (const place of ["a", "b"])
    await cp(demoFolder, join(folder, place, "model"), {
      recursive: true,
      filter: (path) => !path.includes("llm_adapt"),
    });
  const model = join(folder, "a", "model");
  const before = await readdir(model);
  const results = `--output_folder=${join(folder, "results")}`;
  const answered = await runHira(...asked, `--ckpt=${model}`, results);
  t.is(answered.code, 0, answered.err);
  t.deepEqual(await filesBelow(join(folder, "results")), [join("model", name)]);
  t.deepEqual(await readdir(model), before);

  const other = await runHira(...asked, `--ckpt=${join(folder, "b", "model")}`, results);
  t.is(other.code, 2);
  t.regex(other.err, /Cannot answer into \S+: found the answers of \S+a\/model, expected those of/);
});

test("what cannot be written is found before the model is opened, with the way out (9.16)", async (t) => {
  const folder = await makeTempFolder(t);
  await writeFile(join(folder, "file"), "");
  const model = `--ckpt=${demoFolder}`;
  const below = await runHira(...asked, model, `--output_folder=${join(folder, "file", "x")}`);
  t.is(below.code, 2);
  t.regex(
    below.err,
    /^error: Cannot write \S+: .*\n {2}Put the answers elsewhere: --output_folder/,
  );
  // The model's folder is there and holds no model: it would be told of, were it opened first.
  await mkdir(join(folder, "empty"));
  await writeFile(join(folder, "empty", "config.json"), "{}");
  const broken = [
    `--ckpt=${join(folder, "empty")}`,
    `--output_file=${join(folder, "file", "y.jsonl")}`,
  ];
  t.regex((await runHira(...asked, ...broken)).err, /^error: Cannot write /);
});

test("a run's folder without the right to write is told before decoding, and --output_folder answers it (9.16)", async (t) => {
  if (process.getuid?.() !== 0) {
    t.pass("only root can start a program as somebody else");
    return;
  }
  const folder = await makeTempFolder(t);
  const run = await trainRun(t, join(folder, "runs"));
  await chmod(folder, 0o755);
  // As nobody: root may write everywhere.
  const asNobody = (...flags: readonly string[]) =>
    startHira(t, [...asked, `--ckpt=${run}`, ...flags], undefined, { uid: 65534 }).ended;
  const refused = await asNobody();
  if (/ERR_MODULE|permission denied, \w+ '[^']*(?:node_modules|src)/.test(refused.err)) {
    t.pass("this checkout is closed to others");
    return;
  }
  t.is(refused.code, 2, refused.err);
  t.regex(refused.err, /error: Cannot write \S+boolq\S+: .*(?:permission|may not|not allowed)/i);
  t.regex(refused.err, /Put the answers elsewhere: --output_folder=DIR/);
});

test("flags that what is loaded has no use for are named beside --ckpt (9.2)", async (t) => {
  const folder = await makeTempFolder(t);
  const run = await trainRun(t, join(folder, "runs"));
  const name = (more: string) => [...asked, more, "--lora_alpha=4", "--virtual_tokens=3"];
  const ofRun = await runHira(...name(`--ckpt=${run}`));
  t.is(ofRun.code, 0, ofRun.err);
  t.regex(
    ofRun.err,
    /^warning: Without effect here: --lora_alpha, --virtual_tokens \(what is loaded was trained with hira\)\n/m,
  );
  const plain = await runHira(...name(`--ckpt=${demoFolder}`), `--output_folder=${folder}`);
  t.regex(plain.err, /--lora_alpha, --virtual_tokens \(what is loaded is a plain model\)\n/);
  // A run's config.yaml has every flag, and asks for none of them.
  const config = `--config=${join(run, "config.yaml")}`;
  const recorded = await runHira(...asked, config, `--ckpt=${run}`, `--output_folder=${folder}`);
  t.is(recorded.code, 0, recorded.err);
  t.is(recorded.err, "");
});
