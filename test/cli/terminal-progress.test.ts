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
