import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { runTraining } from "../../src/runs/run-training.js";
import type { ProgressUi } from "../../src/report/progress.js";
import { InterruptSignal } from "../../src/train/interrupt.js";
import { runTrain } from "../cli/support.js";
import { prepareRuns, resultsOf, runFolderIn } from "../support/resumed-runs.js";
import { runHira } from "../support/run-hira.js";
import { startHira } from "../support/start-hira.js";

/** Starts `hira`, and sends a signal as soon as metrics.jsonl has a row of step `step`. */
const stopAfter = async (
  t: ExecutionContext,
  argv: readonly string[],
  step: number,
  signal: NodeJS.Signals,
) => {
  const { child, printed, ended } = startHira(t, argv);
  let sentMs = NaN;
  const timer = setInterval(() => {
    readFile(join(runFolderIn(printed.out), "metrics.jsonl"), "utf8").then(
      (text) => {
        if (!Number.isNaN(sentMs) || !text.includes(`"step":${String(step)},`)) return;
        sentMs = performance.now();
        child.kill(signal);
      },
      () => undefined,
    );
  }, 5);
  const end = await ended;
  clearInterval(timer);
  /** From the signal to the end. */
  const seconds = (performance.now() - sentMs) / 1000;
  return { ...end, seconds };
};

const stateOf = async (
  checkpoint: string,
): Promise<{ readonly log_history: readonly Readonly<Record<string, number>>[] }> =>
  JSON.parse(await readFile(join(checkpoint, "trainer_state.json"), "utf8")) as never;

for (const [signal, code, limit] of [
  ["SIGINT", 130, 1],
  ["SIGTERM", 143, 0],
] as const)
  test.serial(
    `the first ${signal} stops a validation within seconds, and the resumed run has the bits of an uninterrupted one (9.14)`,
    async (t) => {
      const { folder, flags } = await prepareRuns(t);
      const validation = join(folder, "validation.jsonl");
      const rows = (await readFile(validation, "utf8")).trim().split("\n");
      // One row a batch: a validation of some seconds at least.
      await writeFile(validation, Array.from({ length: 500 }, () => rows.join("\n")).join("\n"));
      const argv = [
        ...[...flags, "--peft_type=hira", "--r_ab=2", "--max_steps=4", "--log_steps=1"],
        ...["--eval_strategy=steps", "--eval_steps=2", `--save_total_limit=${String(limit)}`],
      ];
      const whole = await runHira(...argv);
      t.is(whole.code, 0, whole.err);
      // The last step's: nothing is left to train then, and the best checkpoint is still to be found.
      const stopped = await stopAfter(t, argv, 4, signal);
      t.is(stopped.code, code, stopped.err);
      // The signal may come between the row and the validation.
      t.regex(stopped.err, /(?:leaving the validation|finishing this step) and saving/);
      t.regex(stopped.out, /Stopped after 4 of 4 steps, in the validation; to go on: hira train /);
      t.true(stopped.seconds < 5, `${String(stopped.seconds)} s`);
      const run = runFolderIn(stopped.out);
      t.false((await readdir(run)).includes("output.jsonl"));
      const { log_history: history } = await stateOf(join(run, "checkpoint-4"));
      t.deepEqual(
        history.map((entry) => [entry.step, "eval_loss" in entry]),
        [1, 2, 2, 3, 4].map((step, i) => [step, i === 2]),
      );
      // The one before stays as long as nobody knows which is better.
      t.true((await readdir(run)).includes("checkpoint-2"));

      const again = await stopAfter(t, [...argv, `--resume=${run}`], 4, signal);
      t.is(again.code, code, again.err);
      const resumed = await runHira(...argv, `--resume=${run}`);
      t.is(resumed.code, 0, resumed.err);
      t.deepEqual(await resultsOf(run), await resultsOf(runFolderIn(whole.out)));
    },
  );

const silent = (step: () => void): ProgressUi => ({
  training: () => ({
    step,
    validating: () => undefined,
    evaluation: () => undefined,
    done: () => undefined,
  }),
  decoding: () => ({ advance: () => undefined, done: () => undefined }),
  line: () => undefined,
  warn: () => undefined,
});

test("a signal leaves a step that would take longer than seconds, which a resumed run does again (9.14)", async (t) => {
  const { flags } = await prepareRuns(t);
  const argv = [
    ...[...flags, "--peft_type=lora", "--lora_dropout=0.2", "--r_ab=2", "--max_steps=3"],
    // All rows in one update.
    ...["--batch=1", "--grad_acc=22"],
  ];
  const whole = await runHira(...argv);
  t.is(whole.code, 0, whole.err);
  const { options } = await runTrain(argv);
  if (!options) return t.fail("the line was refused");
  const interrupt = new InterruptSignal({ graceMs: 1 });
  const record = { argv, flags: options.flags, defaults: options.flags, originalFlags: {} };
  const run = await runTraining(
    options,
    record,
    silent(() => setImmediate(() => interrupt.request("SIGTERM"))),
    interrupt,
  );
  t.true((await readdir(run)).includes("checkpoint-1"), (await readdir(run)).join(", "));
  const resumed = await runHira(...argv, `--resume=${run}`);
  t.is(resumed.code, 0, resumed.err);
  t.deepEqual(await resultsOf(run), await resultsOf(runFolderIn(whole.out)));
});
