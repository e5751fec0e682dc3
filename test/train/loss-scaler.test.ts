import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import { defaultLossScaling, type LossScaling } from "../../src/distributed/loss-scaling.js";
import {
  afterGoodStep,
  afterOverflow,
  startingLossScale,
  type LossScale,
} from "../../src/train/loss-scaler.js";
import { copyAsKilled, prepareRuns, resultsOf, runFolderIn } from "../support/resumed-runs.js";
import { runHira } from "../support/run-hira.js";

/** Scales and messages of steps that overflow (o) or do not (.); undefined once the scale cannot shrink. */
const follow = (settings: Partial<LossScaling>, steps: string) => {
  const scaling = { ...defaultLossScaling, ...settings };
  let state: LossScale | undefined = startingLossScale(scaling);
  const scales: (number | undefined)[] = [];
  const messages: string[] = [];
  for (const [step, what] of [...steps].entries()) {
    if (!state) break;
    const overflow: ReturnType<typeof afterOverflow> =
      what === "o" ? afterOverflow(scaling, state, step) : undefined;
    if (overflow) messages.push(overflow.message);
    state = what === "o" ? overflow?.next : afterGoodStep(scaling, state, step);
    scales.push(state?.scale);
  }
  return { scales, messages, state };
};

test("the scale starts at 2^16, is halved at the second overflow, and doubles after a window without one", (t) => {
  const { scales, messages, state } = follow({ lossScaleWindow: 3 }, "oo....o.....");
  const [k64, k32] = [2 ** 16, 2 ** 15];
  // Source of the numbers: DynamicLossScaler of DeepSpeed, followed by hand. A window restores the hysteresis.
  t.deepEqual(scales, [k64, k32, k32, k32, k64, k64, k64, k64, k64, 2 * k64, 2 * k64, 2 * k64]);
  t.is(state?.skipped, 3);
  t.is(state?.lastOverflow, 6);
  t.deepEqual(messages, [
    "OVERFLOW! Step 1: Skipping step. Attempted loss scale: 65536, but hysteresis is 2. Reducing hysteresis to 1",
    "OVERFLOW! Step 2: Skipping step. Attempted loss scale: 65536, reducing to 32768",
    "OVERFLOW! Step 7: Skipping step. Attempted loss scale: 65536, but hysteresis is 2. Reducing hysteresis to 1",
  ]);
});

test("before any overflow the first window is one step shorter, as in DeepSpeed", (t) => {
  t.deepEqual(follow({ lossScaleWindow: 4, initialScalePower: 0 }, "........").scales, [
    ...[1, 1, 1, 2, 2, 2, 2, 4],
  ]);
});

test("with consecutive_hysteresis a good step restores it; without, overflows add up", (t) => {
  const settings = { initialScalePower: 3, hysteresis: 2 };
  t.deepEqual(follow(settings, "o.o").scales, [8, 8, 4]);
  t.deepEqual(follow({ ...settings, consecutiveHysteresis: true }, "o.o").scales, [8, 8, 8]);
});

test("the scale stops at its least, where a further overflow ends the run, and a fixed one never changes", (t) => {
  const settings = { initialScalePower: 2, hysteresis: 1, minLossScale: 1.5 };
  t.deepEqual(follow(settings, "ooo").scales, [2, 1.5, undefined]);
  const fixed = follow({ lossScale: 1000, lossScaleWindow: 1 }, "..oo.");
  t.deepEqual(fixed.scales, [1000, 1000, 1000, 1000, 1000]);
  t.is(fixed.state?.skipped, 2);
});

test.serial(
  "a run in fp16 skips updates that overflow, counts none of them, and goes on to the same bits",
  async (t) => {
    const { folder, flags } = await prepareRuns(t);
    const config = join(folder, "fp16.json");
    const fp16 = { enabled: true, initial_scale_power: 20, loss_scale_window: 6, hysteresis: 1 };
    await writeFile(config, JSON.stringify({ fp16 }));
    const argv = [...flags, "--peft_type=hira", "--r_ab=2", "--max_steps=30", "--warmup=10"].concat(
      ...["--eval_strategy=steps", "--eval_steps=3", `--ds_config=${config}`],
    );
    const { code, out, err } = await runHira(...argv);
    t.is(code, 0, err);
    t.regex(
      out,
      /OVERFLOW! Step 1: Skipping step\. Attempted loss scale: 1048576, reducing to 524288/,
    );
    const whole = runFolderIn(out);
    const rows = (await readFile(join(whole, "metrics.jsonl"), "utf8"))
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as { lr: number; loss_scale: number; skipped?: true });
    t.is(rows.length, 30);
    const skipped = rows.filter((row) => row.skipped);
    t.true(skipped.length > 3 && skipped.length < 20, String(skipped.length));
    t.is(rows[0]?.loss_scale, 2 ** 20);
    // The schedule has not gone on in a skipped update: it rises by a tenth of 1e-2 with each that was made.
    let made = 0;
    for (const row of rows.slice(0, 12)) {
      t.true(Math.abs(row.lr - made * 1e-3) < 1e-9, JSON.stringify(row));
      if (!row.skipped) made++;
    }
    const killed = await copyAsKilled(whole, join(folder, "killed"), 12);
    const again = await runHira(...argv, `--resume_from_checkpoint=${killed}`);
    t.is(again.code, 0, again.err);
    t.deepEqual(await resultsOf(killed), await resultsOf(whole));
  },
);

test.serial(
  "a fixed scale that overflows leaves the weights as they were; the least of a dynamic one ends the run",
  async (t) => {
    const { folder, flags } = await prepareRuns(t);
    const train = async (fp16: object) => {
      const config = join(folder, "scaled.json");
      await writeFile(config, JSON.stringify({ fp16: { enabled: true, ...fp16 } }));
      return runHira(
        ...[...flags, "--peft_type=hira", "--r_ab=2", "--max_steps=2"],
        `--ds_config=${config}`,
      );
    };
    const fixed = await train({ loss_scale: 2 ** 60 });
    t.is(fixed.code, 0, fixed.err);
    t.is(fixed.out.match(/OVERFLOW! Step \d: Skipping step\. .*, which is fixed/g)?.length, 2);
    const least = await train({
      ...{ initial_scale_power: 60, min_loss_scale: 2 ** 60, hysteresis: 1 },
    });
    t.is(least.code, 2);
    t.regex(least.err, /Cannot go on training at step 1: found loss .* and gradient norm/);
    t.regex(least.err, /The loss scale is at its least, 1152921504606847000: choose another/);
  },
);
