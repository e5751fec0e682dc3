import { Socket } from "node:net";
import test from "ava";
import { formatBytes, formatSeconds, terminalProgress } from "../../src/cli/terminal-progress.js";
import { recordingStream } from "./support.js";

const escape = "\u001b";

const step = (number: number) => ({
  step: number,
  loss: 2 / number,
  gradNorm: 0.5,
  learningRate: 1e-3,
  tokensPerSecond: 1234.5,
  memoryBytes: 1.5 * 2 ** 30,
});

test("formatSeconds and formatBytes have three digits of use", (t) => {
  t.deepEqual([0.4, 12, 65, 3720, Infinity, NaN].map(formatSeconds), [
    "0s",
    "12s",
    "1m05s",
    "1h02m",
    "-",
    "-",
  ]);
  t.deepEqual([1.5 * 2 ** 30, 640 * 2 ** 20].map(formatBytes), ["1.50 GiB", "640 MiB"]);
});

test("without a terminal training prints the first, every n-th and the last step, and no escape codes", (t) => {
  const [stdout, stderr] = [recordingStream(), recordingStream()];
  const ui = terminalProgress({ stdout, stderr, environment: {} });
  const training = ui.training(25, { logSteps: 10 });
  for (let i = 1; i <= 25; i++) training.step(step(i));
  training.evaluation({ step: 25, loss: 0.25, best: true });
  training.done();
  const lines = stdout.text().trimEnd().split("\n");
  t.deepEqual(
    lines.map((line) => line.split("  ")[0]),
    ["step 1/25", "step 10/25", "step 20/25", "step 25/25", "step 25/25"],
  );
  t.is(lines[3], "step 25/25  loss 0.0800  grad 0.500  lr 1.0e-3  1,235 tok/s  1.50 GiB");
  t.is(lines[4], "step 25/25  eval_loss 0.2500  best so far");
  t.is(stderr.text(), "");
  t.false(stdout.text().includes(escape));
});

test("without a terminal other work prints one line when it is done, warnings go to stderr", (t) => {
  const [stdout, stderr] = [recordingStream(), recordingStream()];
  const ui = terminalProgress({ stdout, stderr, environment: {} });
  const work = ui.decoding(3, "boolq");
  work.advance(1);
  work.advance(2, "66.7 % right");
  ui.warn("2 rows were cut");
  work.done();
  t.is(stdout.text(), "boolq  3/3 rows in 0s  66.7 % right\n");
  t.is(stderr.text(), "warning: 2 rows were cut\n");
});

test("a stdout that is no terminal gets the step lines beside a bar (9.32)", (t) => {
  const [stdout, stderr] = [recordingStream(), recordingStream({ isTTY: true, columns: 80 })];
  const training = terminalProgress({ stdout, stderr, environment: {} }).training(20);
  for (let i = 1; i <= 20; i++) training.step(step(i));
  training.done();
  const lines = stdout.text().trimEnd().split("\n");
  t.deepEqual(
    lines.map((line) => line.split("  ")[0]),
    ["step 1/20", "step 10/20", "step 20/20"],
  );
  t.true(stderr.text().includes("━"));
});

test("a pipe gets the lines and no bar is drawn into what tee prints (9.32)", (t) => {
  const pipe = new Socket();
  let text = "";
  pipe.write = (part: unknown): boolean => ((text += String(part)), true);
  const stderr = recordingStream({ isTTY: true, columns: 80 });
  const ui = terminalProgress({ stdout: pipe, stderr, environment: {} });
  const training = ui.training(2);
  training.step(step(1));
  training.step(step(2));
  training.done();
  t.regex(text, /^step 1\/2 .*\nstep 2\/2 .*\n$/);
  t.is(stderr.text(), "");
});

test("validation is shown: in the bar, and in a log every half minute (9.32)", (t) => {
  const terminal = { isTTY: true, columns: 100 };
  const stderr = recordingStream(terminal);
  const bar = terminalProgress({ stdout: recordingStream(terminal), stderr, environment: {} });
  const shown = bar.training(4);
  shown.step(step(1));
  shown.validating(40, 120);
  shown.done();
  t.regex(stderr.text(), /train ━+─+ 1\/4.* {2}validation 40\/120 rows/);

  let nowMs = 0;
  const stdout = recordingStream();
  const ui = terminalProgress({
    stdout,
    stderr: recordingStream(),
    environment: {},
    now: () => nowMs,
  });
  const validation = { from: (at: number) => (at <= 4 ? 1 : 0), updatesEach: 1 };
  const training = ui.training(4, { validation });
  nowMs = 1000;
  training.step(step(1));
  training.step(step(4));
  for (let rows = 0; rows <= 120; rows += 20) {
    training.validating(rows, 120);
    nowMs += 20_000;
  }
  training.evaluation({ step: 4, loss: 0.5, best: true });
  const lines = stdout.text().trimEnd().split("\n").slice(2);
  t.deepEqual(lines, [
    "step 4/4  validation 40/120 rows  1m20s left",
    "step 4/4  validation 80/120 rows  40s left",
    "step 4/4  eval_loss 0.5000  best so far",
  ]);
});

test("without a terminal long decoding says every half minute where it stands (9.32)", (t) => {
  let nowMs = 0;
  const stdout = recordingStream();
  const ui = terminalProgress({
    stdout,
    stderr: recordingStream(),
    environment: {},
    now: () => nowMs,
  });
  const work = ui.decoding(4, "boolq");
  for (let i = 0; i < 4; i++) {
    nowMs += 20_000;
    work.advance(1);
  }
  work.done();
  t.is(stdout.text(), "boolq  2/4 rows  40s left\nboolq  4/4 rows in 1m20s\n");
});

test("on a terminal a bar fits the width, lines go above it, and the end leaves no timer", (t) => {
  const terminal = { isTTY: true, columns: 60 };
  const [stdout, stderr] = [recordingStream(terminal), recordingStream(terminal)];
  const ui = terminalProgress({ stdout, stderr, environment: { NO_COLOR: "1" } });
  const training = ui.training(4);
  training.step(step(1));
  ui.line("a line");
  training.step(step(4));
  training.done();
  t.is(stdout.text(), "a line\n");
  const drawn = stderr
    .text()
    .split(new RegExp(`${escape}\\[\\d*[A-Za-z]|\\r|\\n`))
    .filter((part) => part !== "");
  t.true(
    drawn.every((line) => line.length < 60),
    drawn.join("|"),
  );
  t.regex(drawn.at(-1) ?? "", /^train ━+ 4\/4 {2}loss 0\.5000 {2}lr/);
  t.false(stderr.text().includes(`${escape}7`) || stderr.text().includes(`${escape}8`));
  ui.close();
});

test("close takes away a bar that a fault has left", (t) => {
  const stderr = recordingStream({ isTTY: true, columns: 80 });
  const ui = terminalProgress({ stdout: recordingStream(), stderr, environment: {} });
  ui.decoding(10, "rows");
  ui.close();
  const { length } = stderr.text();
  ui.warn("after");
  t.is(stderr.text().slice(length), "\u001b[33mwarning:\u001b[0m after\n");
});

test("NO_COLOR and TERM=dumb switch colours off, TERM=dumb the bars too", (t) => {
  for (const environment of [{ NO_COLOR: "1" }, { TERM: "dumb" }]) {
    const stderr = recordingStream({ isTTY: true, columns: 80 });
    const ui = terminalProgress({ stdout: recordingStream(), stderr, environment });
    ui.warn("text");
    t.is(stderr.text(), "warning: text\n");
  }
  const stderr = recordingStream({ isTTY: true, columns: 80 });
  terminalProgress({ stdout: recordingStream(), stderr, environment: { TERM: "dumb" } }).training(
    3,
  );
  t.is(stderr.text(), "");
});
