import { spawn } from "node:child_process";
import { open, mkdir, readFile, rm } from "node:fs/promises";
import { totalmem } from "node:os";
import { join, resolve } from "node:path";
import { writeFileAtomically } from "../core/atomic-file.js";
import { UserError } from "../core/errors.js";
import type { JsonObject } from "../core/json-file.js";
import { isJsonObject } from "../core/json.js";
import { shellLine } from "../core/shell-line.js";
import {
  expectedPeak,
  trialName,
  type Trial,
  type TrialResult,
} from "../distributed/autotuning-plan.js";
import type { AutotuningSettings } from "../distributed/autotuning-settings.js";
import { readMetrics } from "../report/metrics.js";
import { InterruptedError, type InterruptName } from "../train/interrupt.js";
import { trialMemoryName, trialVariables } from "./autotuning-trial.js";

/** What is tuned, and how a line is started. */
export interface Autotuning {
  /** The line of training: `train` and its flags. */
  readonly line: readonly string[];
  readonly processes: number;
  /** Processes of one host, at most. */
  readonly processesHere: number;
  /** The command line that starts a line of hira in all processes, and its environment. */
  readonly start: (line: readonly string[], environment: NodeJS.ProcessEnv) => readonly string[];
  readonly show: (text: string) => void;
  readonly warn: (text: string) => void;
}

/** The file of a trial: the user's, with what is tried in place of what was open. */
export const configOf = (
  file: JsonObject,
  { stage, batch, gradAcc }: Trial,
  processes: number,
): JsonObject => {
  const { autotuning: _, zero_optimization: zero, ...rest } = file;
  return {
    ...rest,
    ...("train_batch_size" in file && { train_batch_size: batch * gradAcc * processes }),
    train_micro_batch_size_per_gpu: batch,
    gradient_accumulation_steps: gradAcc,
    zero_optimization: { ...(isJsonObject(zero) && zero), stage },
  };
};

/** The flags that say a trial. */
export const flagsOf = ({ batch, gradAcc }: Trial, config: string): readonly string[] => [
  `--batch=${String(batch)}`,
  `--grad_acc=${String(gradAcc)}`,
  `--ds_config=${config}`,
];

/** A JSON file's text. */
export const json = (value: unknown): string => `${JSON.stringify(value, undefined, 2)}\n`;

/** Runs a command line, its output into files; a signal ends it and is handed on. */
const runTrial = async (
  [command = "", ...args]: readonly string[],
  folder: string,
  env: NodeJS.ProcessEnv,
): Promise<number | NodeJS.Signals> => {
  const [out, err] = [
    await open(join(folder, "stdout.log"), "w"),
    await open(join(folder, "stderr.log"), "w"),
  ];
  try {
    return await new Promise((done, fail) => {
      const child = spawn(command, args, { stdio: ["ignore", out.fd, err.fd], env });
      let asked: NodeJS.Signals | undefined;
      const pass = (signal: NodeJS.Signals): void => {
        asked = signal;
        child.kill(signal);
      };
      process.on("SIGTERM", pass).on("SIGINT", pass);
      child.once("error", (error) => {
        fail(new UserError(`Cannot start ${command}: ${error.message}`));
      });
      child.once("close", (code, signal) => {
        process.off("SIGTERM", pass).off("SIGINT", pass);
        if (asked) fail(new InterruptedError(asked as InterruptName));
        else done(signal ?? code ?? 1);
      });
    });
  } finally {
    await out.close();
    await err.close();
  }
};

/** Why a trial has failed, in a few words: its error's first line, or how it was ended. */
const reasonOf = async (code: number | NodeJS.Signals, folder: string): Promise<string> => {
  const text = await readFile(join(folder, "stderr.log"), "utf8").catch(() => "");
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  const error = lines.find((line) => line.includes("error:")) ?? lines.at(-1);
  if (code === "SIGKILL" || code === 137) return "killed, as the system does when memory is out";
  return error?.replace(/^.*?error: /, "").slice(0, 120) ?? `ended with ${String(code)}`;
};

/** The figures of a trial that has ended well. */
const readFigures = async (
  runs: string,
  folder: string,
  {
    trial,
    settings,
    processes,
  }: { readonly trial: Trial; readonly settings: AutotuningSettings; readonly processes: number },
): Promise<TrialResult["measured"]> => {
  const printed = await readFile(join(folder, "stdout.log"), "utf8");
  const runFolder = /Run folder: (.*)/.exec(printed)?.[1] ?? runs;
  const steps = (await readMetrics(join(runFolder, "metrics.jsonl"))).filter(
    ({ step }) => step >= settings.startProfileStep,
  );
  const latency = steps.reduce((sum, { stepMs }) => sum + stepMs, 0) / steps.length;
  const peaks: unknown = JSON.parse(await readFile(join(folder, trialMemoryName), "utf8"));
  return {
    latency,
    throughput: (1000 * trial.batch * trial.gradAcc * processes) / latency,
    peakBytes: Array.isArray(peaks) ? peaks.map(Number) : [],
  };
};

/** The trials of a line, one after the other. */
export class Trials {
  readonly results: TrialResult[] = [];

  constructor(
    readonly job: Autotuning,
    readonly file: JsonObject,
    readonly settings: AutotuningSettings,
  ) {}

  /** Runs a trial, or takes its results from an earlier time. */
  async run(trial: Trial): Promise<TrialResult> {
    const result = await this.#result(trial);
    this.results.push(result);
    this.job.show(
      result.measured
        ? `${trialName(trial)}: ${result.measured.throughput.toFixed(2)} samples/s, ${result.measured.latency.toFixed(1)} ms a step${result.remark === "" ? "" : ` (${result.remark})`}`
        : `${trialName(trial)}: ${result.remark}`,
    );
    return result;
  }

  async #result(trial: Trial): Promise<TrialResult> {
    const { job, settings } = this;
    const expected = expectedPeak(this.results, trial);
    const room = Math.min(totalmem(), process.constrainedMemory() || Infinity) / job.processesHere;
    if (expected !== undefined && expected > room)
      return {
        trial,
        measured: undefined,
        remark: `not tried: some ${(expected / 2 ** 30).toFixed(1)} GiB a process, of ${(room / 2 ** 30).toFixed(1)}`,
      };
    const name = trialName(trial);
    const folder = resolve(settings.resultsDir, name);
    const runs = resolve(settings.expsDir, name);
    const config = join(folder, "ds_config.json");
    await mkdir(folder, { recursive: true });
    await mkdir(runs, { recursive: true });
    const line = [...job.line, ...flagsOf(trial, config), `--output_folder=${runs}`];
    const env = {
      ...process.env,
      [trialVariables.steps]: String(settings.endProfileStep),
      [trialVariables.folder]: folder,
    };
    const command = job.start(line, env);
    const description = { name, ...trial, metric: settings.metric, processes: job.processes };
    const what = {
      command: `${shellLine(command)}\n`,
      config: json(configOf(this.file, trial, job.processes)),
    };
    if (!settings.overwrite) {
      const earlier = await this.#earlier(folder, what);
      if (earlier) return { trial, measured: earlier, remark: "from an earlier time" };
    }
    await rm(join(folder, "metrics.json"), { force: true });
    await writeFileAtomically(config, what.config);
    await writeFileAtomically(join(folder, "cmd.txt"), what.command);
    await writeFileAtomically(join(folder, "exp.json"), json(description));
    await writeFileAtomically(`${runs}.json`, json(description));
    const code = await runTrial(command, folder, env);
    try {
      if (code !== 0) return { trial, measured: undefined, remark: await reasonOf(code, folder) };
      const about = { trial, settings, processes: job.processes };
      const measured = await readFigures(runs, folder, about);
      await writeFileAtomically(join(folder, "metrics.json"), json(measured));
      return { trial, measured, remark: "" };
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      return { trial, measured: undefined, remark: `no figures: ${text.slice(0, 120)}` };
    } finally {
      await rm(runs, { recursive: true, force: true });
    }
  }

  /** The figures of the very same trial, if they are there. */
  async #earlier(
    folder: string,
    { command, config }: { readonly command: string; readonly config: string },
  ): Promise<TrialResult["measured"]> {
    const textOf = (name: string): Promise<string | undefined> =>
      readFile(join(folder, name), "utf8").catch(() => undefined);
    const text = await textOf("metrics.json");
    if (text === undefined) return undefined;
    if ((await textOf("cmd.txt")) !== command || (await textOf("ds_config.json")) !== config)
      return undefined;
    return JSON.parse(text) as TrialResult["measured"];
  }
}
