import { Socket } from "node:net";
import { SingleBar } from "cli-progress";
import type {
  ProgressUi,
  StepProgress,
  TrainingProgress,
  WorkProgress,
} from "../report/progress.js";
import { trainingClock } from "./training-clock.js";
import { painterFor, type OutputStream, type Painter } from "./style-text.js";
import { columnsOf } from "./wrap-text.js";

/** `3m05s`, `1h02m`, `12s`; a dash for a time that is not known. */
export const formatSeconds = (seconds: number): string => {
  if (!Number.isFinite(seconds) || seconds < 0) return "-";
  const whole = Math.round(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const twoDigits = (value: number): string => String(value).padStart(2, "0");
  if (hours > 0) return `${String(hours)}h${twoDigits(minutes)}m`;
  return minutes > 0 ? `${String(minutes)}m${twoDigits(whole % 60)}s` : `${String(whole)}s`;
};

/** `1.25 GiB`, `640 MiB`. */
export const formatBytes = (bytes: number): string =>
  bytes >= 2 ** 30 ? `${(bytes / 2 ** 30).toFixed(2)} GiB` : `${(bytes / 2 ** 20).toFixed(0)} MiB`;

const formatRate = (rate: number): string =>
  rate >= 100 ? Math.round(rate).toLocaleString("en-US") : rate.toPrecision(3);

/** The parts of a training line after the step; a bar has no room for the gradient's norm. */
const stepParts = (
  { loss, gradNorm, learningRate, tokensPerSecond, memoryBytes }: StepProgress,
  withGradNorm: boolean,
): readonly string[] => [
  `loss ${loss.toFixed(4)}`,
  ...(gradNorm === undefined || !withGradNorm ? [] : [`grad ${gradNorm.toPrecision(3)}`]),
  `lr ${learningRate.toExponential(1)}`,
  `${formatRate(tokensPerSecond)} tok/s`,
  formatBytes(memoryBytes),
];

const widestBar = 24;
const narrowestBar = 6;

/** `label ━━━━━━──── 40/100  1m20s left  parts`: the bar takes the room that is left, and what is too long is cut. */
const barLine = (
  label: string,
  {
    value,
    total,
    secondsLeft,
    detail,
    columns,
  }: {
    readonly value: number;
    readonly total: number;
    readonly secondsLeft: number;
    readonly detail: string;
    readonly columns: number;
  },
): string => {
  const left = secondsLeft <= 0 ? "" : `  ${formatSeconds(secondsLeft)} left`;
  const rest = ` ${String(value)}/${String(total)}${left}${detail === "" ? "" : `  ${detail}`}`;
  const room = columns - 1 - label.length - 1 - rest.length;
  const width = Math.max(narrowestBar, Math.min(widestBar, room));
  const done = total === 0 ? 1 : Math.min(1, value / total);
  const filled = Math.round(done * width);
  const line = `${label} ${"━".repeat(filled)}${"─".repeat(width - filled)}${rest}`;
  // The last column stays free: a full line would wrap and the next redraw would miss it.
  return line.length < columns ? line : `${line.slice(0, Math.max(0, columns - 2))}…`;
};

/** Long work says where it stands this often where nobody sees a bar. */
const quietMs = 30_000;

/** A pipe to another program, such as tee: what it prints would run into a bar. */
const isPipe = (stream: OutputStream): boolean => stream.isTTY !== true && stream instanceof Socket;

/** A ProgressUi on a terminal or a plain stream, which its owner closes at the end. */
export interface TerminalProgress extends ProgressUi {
  /** Takes away bars that a fault has left, so that nothing keeps the process alive. */
  close(): void;
}

/**
 * Shows progress: bars on a terminal's stderr, plain lines on a stdout that is none; with a file there, both. Results go to
 * stdout, warnings to stderr.
 *
 * A run's lines come every `logSteps` updates and with each evaluation; other work prints one when it is done, and all long
 * work one every half minute. NO_COLOR and TERM=dumb switch the colours off.
 */
export const terminalProgress = ({
  stdout,
  stderr,
  environment,
  now = () => performance.now(),
}: {
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** In milliseconds. */
  readonly now?: () => number;
}): TerminalProgress => {
  const paint: Painter = painterFor(stderr, environment);
  const drawsBars = stderr.isTTY === true && environment["TERM"] !== "dumb" && !isPipe(stdout);
  const printsLines = stdout.isTTY !== true || !drawsBars;
  let active: { readonly bar: SingleBar; readonly end: () => void } | undefined;

  /** Writes a whole line above the bar, which is drawn again below it. */
  const writeLine = (stream: OutputStream, text: string): void => {
    if (active) stderr.write("\r\u001b[2K");
    stream.write(`${text}\n`);
    active?.bar.render();
  };
  const line = (text: string): void => {
    writeLine(stdout, text);
  };
  const warn = (text: string): void => {
    writeLine(stderr, `${paint("yellow", "warning:")} ${text}`);
  };

  /** A bar on the last line of the terminal; `show` says where the work stands, and how many seconds are left. */
  const startBar = (
    label: string,
    total: number,
    start: number,
  ): { show(value: number, left: number, detail: string): void; stop(): void } => {
    active?.end();
    let secondsLeft = Infinity;
    const bar = new SingleBar({
      // The cursor's saved place would be restored at the end, over the lines written since.
      stream: withoutCursorMemory(stderr),
      format: (_options, { value, total: all }, { detail }: { detail: string }) =>
        barLine(label, {
          value,
          total: all,
          secondsLeft,
          detail,
          columns: columnsOf(stderr, environment),
        }),
      // True is the setting that leaves the terminal as it is.
      linewrap: true,
      hideCursor: null,
      gracefulExit: false,
      forceRedraw: true,
    });
    const stop = (): void => {
      if (active?.bar !== bar) return;
      active = undefined;
      bar.stop();
    };
    bar.start(total, start, { detail: "" });
    active = { bar, end: stop };
    return {
      show: (value, left, detail) => {
        secondsLeft = left;
        bar.update(value, { detail });
      },
      stop,
    };
  };

  const training: ProgressUi["training"] = (total, options = {}): TrainingProgress => {
    const { start = 0, logSteps = 10 } = options;
    const bar = drawsBars ? startBar("train", total, start) : undefined;
    const clock = trainingClock(total, start, options.validation, now);
    let [reached, detail, spokeMs] = [start, "", now()];
    const say = (text: string): void => {
      if (printsLines && options.printsLines !== false)
        line(`step ${String(reached)}/${String(total)}  ${text}`);
      spokeMs = now();
    };
    const behind = (left: number): string => (left > 0 ? `  ${formatSeconds(left)} left` : "");
    return {
      step: (info) => {
        const { step } = info;
        reached = step;
        clock.step(step);
        const left = clock.secondsLeft();
        detail = stepParts(info, false).join("  ");
        bar?.show(step, left, detail);
        if (step === start + 1 || step % logSteps === 0 || step === total)
          say(`${stepParts(info, true).join("  ")}${behind(left)}`);
      },
      validating: (rows, ofRows) => {
        if (rows === 0) spokeMs = now();
        clock.validating(rows / ofRows);
        const left = clock.secondsLeft();
        const text = `validation ${String(rows)}/${String(ofRows)} rows`;
        bar?.show(reached, left, text);
        if (now() - spokeMs >= quietMs && rows < ofRows) say(`${text}${behind(left)}`);
      },
      evaluation: ({ step, loss, best }) => {
        clock.validated();
        reached = step;
        bar?.show(step, clock.secondsLeft(), detail);
        if (options.printsLines === false) return;
        // A result, which a terminal shows above the bar.
        line(
          `step ${String(step)}/${String(total)}  eval_loss ${loss.toFixed(4)}${best ? "  best so far" : ""}`,
        );
      },
      done: () => bar?.stop(),
    };
  };

  const decoding: ProgressUi["decoding"] = (total, label, unit = "rows"): WorkProgress => {
    const bar = drawsBars ? startBar(label, total, 0) : undefined;
    const startMs = now();
    let [value, detail, spokeMs] = [0, "", startMs];
    const secondsLeft = (): number =>
      value === 0 ? Infinity : ((now() - startMs) / 1000 / value) * (total - value);
    const sayWhere = (time: string): void => {
      line(
        `${label}  ${String(value)}/${String(total)} ${unit}${time}${detail === "" ? "" : `  ${detail}`}`,
      );
      spokeMs = now();
    };
    return {
      advance: (parts, newDetail = detail) => {
        value += parts;
        detail = newDetail;
        bar?.show(value, secondsLeft(), detail);
        if (printsLines && value < total && now() - spokeMs >= quietMs)
          sayWhere(`  ${formatSeconds(secondsLeft())} left`);
      },
      done: () => {
        bar?.stop();
        if (printsLines) sayWhere(` in ${formatSeconds((now() - startMs) / 1000)}`);
      },
    };
  };

  return { training, decoding, line, warn, close: () => active?.end() };
};

/** The same stream, deaf to "save the cursor" and "restore the cursor". */
const withoutCursorMemory = (stream: OutputStream): NodeJS.WritableStream => {
  const forgetful: OutputStream = {
    get isTTY() {
      return stream.isTTY;
    },
    get columns() {
      return stream.columns;
    },
    write: (text) => (text === "\u001b7" || text === "\u001b8" ? true : stream.write(text)),
  };
  // cli-progress uses nothing else of a stream: write, isTTY and, for the width, getWindowSize or columns.
  return forgetful as unknown as NodeJS.WritableStream;
};
