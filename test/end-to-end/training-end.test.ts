import { execFileSync } from "node:child_process";
import { join } from "node:path";
import test from "ava";
import { demoFolder } from "../../scripts/demo/paths.js";
import { runFolderIn } from "../support/resumed-runs.js";
import { runHira } from "../support/run-hira.js";
import { makeTempFolder } from "../support/temp-folder.js";
import { tinyRunFlags, writeTinyRows } from "../support/tiny-runs.js";

/** The words of a printed command line, as a shell takes them, without the program's name and the remark. */
const wordsOf = (line: string): readonly string[] =>
  execFileSync("sh", ["-c", `hira() { printf '%s\\0' "$@"; }\n${line}`], { encoding: "utf8" })
    .split("\0")
    .slice(0, -1);

const demo = [`--model=${demoFolder}`, `--data_dir=${demoFolder}`, "--peft_type=hira", "--r_ab=2"];
const short = ["--batch=16", "--max_steps=2", "--eval_strategy=steps", "--dataset_ratio=0.05"];

test("training ends with the path, the best loss, the score, and lines that can be typed as they stand (9.33)", async (t) => {
  // A path that a shell would cut in two.
  const folder = join(await makeTempFolder(t), "it's my runs");
  const argv = [...demo, ...short, "--dataset=boolq", "--limit=6", `--output_folder=${folder}`];
  const { code, out, err } = await runHira(...argv);
  t.is(code, 0, err);
  const run = runFolderIn(out);
  t.true(out.includes(`Finished: ${run}\n`));
  t.regex(out, /Best validation loss \d+\.\d{4} at step [12] of 2 \(checkpoint-[12]\)/);
  t.regex(out, /boolq: [\d.]+ % right, \d of 6 rows \(95 % interval [\d.]+ – [\d.]+\)/);
  const commands = out.slice(out.indexOf("Next:\n") + 6).trim();
  const lines = commands.split("\n").map(wordsOf);
  t.deepEqual(
    lines.map(([word]) => word),
    ["score", "merge"],
  );
  for (const line of lines) {
    const done = await runHira(...line);
    t.is(done.code, 0, done.err);
  }
});

test("after common_170k the eight sets are the next thing to answer (9.33)", async (t) => {
  const folder = await makeTempFolder(t);
  const argv = [...demo, ...short, "--dataset=common_170k", "--limit=4"];
  const { code, out, err } = await runHira(...argv, `--output_folder=${folder}`);
  t.is(code, 0, err);
  t.notRegex(out, /% right/);
  const commands = out.slice(out.indexOf("Next:\n") + 6).trim();
  const [evaluate, score] = commands.split("\n").map(wordsOf);
  if (!evaluate || !score) return t.fail(commands);
  const answered = await runHira(...evaluate, "--limit=2");
  t.is(answered.code, 0, answered.err);
  const scored = await runHira(...score);
  t.is(scored.code, 0, scored.err);
});

test("rows of token ids end with what can be said of them (9.33)", async (t) => {
  const folder = await makeTempFolder(t);
  const flags = tinyRunFlags(await writeTinyRows(folder));
  const prompts = ["--peft_type=prompt-tuning", "--virtual_tokens=2", `--output_folder=${folder}`];
  const without = flags.filter((flag) => !flag.startsWith("--r_ab"));
  const { code, out, err } = await runHira(...without, ...prompts);
  t.is(code, 0, err);
  t.regex(out, /Best validation loss/);
  // Virtual tokens cannot be merged, and there are no answers.
  t.notRegex(out, /Next:|hira score|hira merge/);
});

test("--log_format=hf prints the trainer's dicts and no lines of ours (9.38)", async (t) => {
  const folder = await makeTempFolder(t);
  const flags = [...tinyRunFlags(await writeTinyRows(folder)), "--peft_type=hira"];
  const { code, out, err } = await runHira(
    ...[...flags, "--log_format=hf", "--log_steps=1", `--output_folder=${folder}/runs`],
  );
  t.is(code, 0, err);
  const number = String.raw`-?\d+(?:\.\d+)?(?:e-?\d+)?`;
  const dicts = out.split("\n").filter((line) => line.startsWith("{"));
  const dict = (...keys: readonly string[]): RegExp =>
    new RegExp(`^\\{${keys.map((key) => `'${key}': ${number}`).join(", ")}\\}$`);
  const speed = (split: string): readonly string[] =>
    ["runtime", "samples_per_second", "steps_per_second"].map((key) => `${split}_${key}`);
  const step = dict("loss", "grad_norm", "learning_rate", "epoch");
  const evaluation = dict("eval_loss", ...speed("eval"), "epoch");
  const expected = [step, step, evaluation, step, step, evaluation];
  expected.push(dict(...speed("train"), "train_loss", "epoch"));
  t.is(dicts.length, expected.length, out);
  expected.forEach((form, i) => t.regex(dicts[i] ?? "", form));
  t.notRegex(out, /^step \d/m);
});
