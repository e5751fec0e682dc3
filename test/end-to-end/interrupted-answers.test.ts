import { cp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { demoFolder } from "../../scripts/demo/paths.js";
import { resultsOf, runFolderIn } from "../support/resumed-runs.js";
import { runHira } from "../support/run-hira.js";
import { startHira } from "../support/start-hira.js";
import { makeTempFolder } from "../support/temp-folder.js";

const demoFlags = [`--data_dir=${demoFolder}`, "--dataset=boolq"] as const;

/** A plain adapter for the demo's model, trained for two steps. */
const trainRun = async (t: ExecutionContext): Promise<string> => {
  const folder = await makeTempFolder(t);
  const { code, out, err } = await runHira(
    ...["--peft_type=hira", `--model=${demoFolder}`, ...demoFlags, "--r_ab=2", "--lr=1e-2"],
    ...["--max_steps=2", "--eval_strategy=no", "--limit=1", `--output_folder=${folder}`],
  );
  t.is(code, 0, err);
  return runFolderIn(out);
};

/** The files in which rows are kept while a set is being answered. */
const partialsIn = async (folder: string): Promise<readonly string[]> =>
  (await readdir(folder).catch((): string[] => [])).filter((name) => name.endsWith(".partial"));

const linesOf = async (folder: string): Promise<number> => {
  const [name] = await partialsIn(folder);
  if (name === undefined) return 0;
  return (await readFile(join(folder, name), "utf8")).split("\n").filter((line) => line !== "")
    .length;
};

/** Starts hira, and sends a signal once `folderOf` what it printed keeps more rows than at first. */
const stopWhileAnswering = async (
  t: ExecutionContext,
  argv: readonly string[],
  signal: NodeJS.Signals,
  folderOf: (out: string) => string,
) => {
  const { child, printed, ended } = startHira(t, argv);
  let before = NaN;
  let sentMs = NaN;
  const timer = setInterval(() => {
    const folder = folderOf(printed.out);
    if (folder === "" || !Number.isNaN(sentMs)) return;
    linesOf(folder).then(
      (lines) => {
        if (Number.isNaN(before)) before = lines;
        if (lines <= before || !Number.isNaN(sentMs)) return;
        sentMs = performance.now();
        child.kill(signal);
      },
      () => undefined,
    );
  }, 5);
  const end = await ended;
  clearInterval(timer);
  return { ...end, seconds: (performance.now() - sentMs) / 1000 };
};

/** What two evaluations share: all of a file but the folder's path and the third line, which says how much memory was used. */
const answersOf = async (ckpt: string): Promise<readonly string[]> =>
  (await readFile(join(ckpt, name), "utf8"))
    .replaceAll(ckpt, "CKPT")
    .split("\n")
    .filter((_, i) => i !== 2);

const name = "output_-1_boolq_maxT=32_beam=4_eval.jsonl";

test("an evaluation that is stopped by signals and killed goes on at the next rows, to the bytes of an uninterrupted one (9.14)", async (t) => {
  const run = await trainRun(t);
  const whole = join(await makeTempFolder(t), "whole");
  await cp(run, whole, { recursive: true });
  const argvOf = (ckpt: string) => [
    ...[...demoFlags, `--ckpt=${ckpt}`, `--model=${demoFolder}`, "--threads=1"],
    // A row at a time, and answers that are long.
    ...["--batch=4", "--beam_size=4", "--max_new_tokens=32", "--limit=48"],
  ];
  const uninterrupted = await runHira(...argvOf(whole));
  t.is(uninterrupted.code, 0, uninterrupted.err);
  t.deepEqual(await partialsIn(whole), []);

  for (const [signal, code] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
    ["SIGKILL", null],
  ] as const) {
    const stopped = await stopWhileAnswering(t, argvOf(run), signal, () => run);
    t.is(stopped.code, code, stopped.err);
    t.true(stopped.seconds < 5, `${String(stopped.seconds)} s`);
    t.false((await readdir(run)).includes(name));
    t.is((await partialsIn(run)).length, 1);
    if (signal === "SIGKILL") continue;
    t.regex(
      stopped.err,
      new RegExp(`warning: ${signal}: stopping; rows that are answered are kept`),
    );
    t.regex(
      stopped.out,
      /boolq: stopped with \d+ of \d+ rows answered; the same command goes on with the others\n/,
    );
  }
  const kept = await linesOf(run);
  t.true(kept > 3, String(kept));

  // Kept rows are no answers yet: what is scored is the run's own output.jsonl, of one row.
  const scored = await runHira("score", run, "--json");
  t.is(scored.code, 0, scored.err);
  t.notRegex(scored.out, /partial|eval\.jsonl/);
  // Nor does another way of decoding take them.
  const other = await runHira(...argvOf(run), "--beam_size=1", "--limit=1");
  t.is(other.code, 0, other.err);
  t.notRegex(other.out, /going on behind/);
  t.is(await linesOf(run), kept);

  // A kill in the middle of a write.
  const [partial = ""] = await partialsIn(run);
  const text = await readFile(join(run, partial), "utf8");
  await writeFile(join(run, partial), text.trimEnd().slice(0, -5));
  const resumed = await runHira(...argvOf(run));
  t.is(resumed.code, 0, resumed.err);
  t.regex(resumed.out, new RegExp(`boolq: going on behind ${String(kept - 1)} of \\d+ rows\n`));
  t.deepEqual(await answersOf(run), await answersOf(whole));
  t.deepEqual(await partialsIn(run), []);
});

test("hira generate that is stopped goes on at the next prompts, to the bytes of an uninterrupted one (9.14)", async (t) => {
  const folder = await makeTempFolder(t);
  const input = join(folder, "prompts.jsonl");
  const texts = ["does the", "Is water wet?", "What is a river", "the sea and"];
  await writeFile(
    input,
    Array.from({ length: 60 }, (_, i) =>
      JSON.stringify({ prompt: `${texts[i % 4] ?? ""}${" and".repeat(i % 7)}` }),
    ).join("\n"),
  );
  const argvOf = (out: string) => [
    ...["generate", `--model=${demoFolder}`, `--input=${input}`, `--out=${out}`, "--threads=1"],
    ...["--batch=1", "--beam_size=4", "--num_return_sequences=2", "--max_new_tokens=32"],
    ...["--do_sample=yes", "--seed=5"],
  ];
  const whole = join(folder, "whole.jsonl");
  const uninterrupted = await runHira(...argvOf(whole));
  t.is(uninterrupted.code, 0, uninterrupted.err);
  const place = join(folder, "stopped");
  const out = join(place, "answers.jsonl");
  const stopped = await stopWhileAnswering(t, argvOf(out), "SIGINT", () => place);
  t.is(stopped.code, 130, stopped.err);
  t.regex(stopped.out, /generate: stopped with \d+ of 60 prompts answered/);
  t.false((await readdir(place)).includes("answers.jsonl"));
  const resumed = await runHira(...argvOf(out));
  t.is(resumed.code, 0, resumed.err);
  t.regex(resumed.out, /generate: going on behind \d+ of 60 prompts/);
  t.is(await readFile(out, "utf8"), await readFile(whole, "utf8"));
  t.deepEqual(await readdir(place), ["answers.jsonl"]);
});

test("a training run that is stopped while it answers goes on there when it is resumed, to the same files (9.14)", async (t) => {
  const folder = await makeTempFolder(t);
  const argv = [
    ...["--peft_type=hira", `--model=${demoFolder}`, ...demoFlags, "--r_ab=2", "--lr=1e-2"],
    ...["--max_steps=2", "--eval_strategy=no", "--batch=4", "--beam_size=4", "--threads=1"],
    ...["--max_new_tokens=32", "--limit=40", `--output_folder=${folder}`],
  ];
  const whole = await runHira(...argv);
  t.is(whole.code, 0, whole.err);
  const stopped = await stopWhileAnswering(t, argv, "SIGTERM", runFolderIn);
  t.is(stopped.code, 143, stopped.err);
  const run = runFolderIn(stopped.out);
  t.regex(stopped.out, /boolq: stopped with \d+ of 40 rows answered/);
  t.regex(stopped.out, /To go on: hira train --config=\S+ --resume_from_checkpoint=\S+\n/);
  t.false((await readdir(run)).includes("output.jsonl"));
  const resumed = await runHira(...argv, `--resume=${run}`);
  t.is(resumed.code, 0, resumed.err);
  t.regex(resumed.out, /boolq: going on behind \d+ of 40 rows/);
  t.deepEqual(await resultsOf(run), await resultsOf(runFolderIn(whole.out)));
  await rm(folder, { recursive: true });
});
