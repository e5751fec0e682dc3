import type { Command } from "../../src/cli/command.js";
import { dataSplitCommand } from "../../src/cli/commands/data-split.js";
import { scoreCommand } from "../../src/cli/commands/score.js";
import { trainCommand } from "../../src/cli/commands/train.js";
import { main } from "../../src/cli/main.js";
import type { TrainOptions } from "../../src/cli/train-options.js";
import type { OutputStream } from "../../src/cli/style-text.js";

/** A stream that keeps what is written. */
export const recordingStream = (
  terminal: { readonly isTTY?: boolean; readonly columns?: number } = {},
): OutputStream & { text(): string } => {
  const parts: string[] = [];
  return {
    ...terminal,
    write: (text) => {
      parts.push(text);
      return true;
    },
    text: () => parts.join(""),
  };
};

export interface MainResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Commands that need no model. */
const lightCommands = [scoreCommand, dataSplitCommand];

/** Runs a command line with recorded streams. */
export const runMain = async (
  argv: readonly string[],
  table: readonly Command[] = lightCommands,
): Promise<MainResult> => {
  const [stdout, stderr] = [recordingStream(), recordingStream()];
  const code = await main(argv, { stdout, stderr, environment: {}, commands: table });
  return { code, stdout: stdout.text(), stderr: stderr.text() };
};

export interface TrainRun extends MainResult {
  /** What the library was asked to do; undefined if the line was refused. */
  readonly work?: "train" | "evaluate" | "analyse";
  readonly options?: TrainOptions;
}

/** Runs a line of `hira train` up to the point where the library would start. */
export const runTrain = async (argv: readonly string[]): Promise<TrainRun> => {
  let asked: Pick<TrainRun, "work" | "options"> = {};
  const note =
    (work: NonNullable<TrainRun["work"]>) =>
    async (options: TrainOptions): Promise<void> => {
      asked = { work, options };
    };
  const train = trainCommand({
    train: note("train"),
    evaluate: note("evaluate"),
    analyseDataset: note("analyse"),
  });
  return { ...(await runMain(argv, [train])), ...asked };
};
