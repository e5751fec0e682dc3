import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { constants } from "node:os";
import { dirname, join, relative } from "node:path";
import { isProcessAlive } from "../core/process-alive.js";
import { requireWritableFolder } from "../core/atomic-file.js";
import { UserError } from "../core/errors.js";
import {
  readSweepState,
  sweepStateName,
  writeSweepState,
  type SweepRun,
  type SweepState,
  type SweepStatus,
} from "../report/sweep-state.js";
import { listCheckpoints } from "../train/checkpoint-folder.js";
import { interruptNames, type InterruptSignal } from "../train/interrupt.js";
import { isInterruptCode } from "./interrupt.js";
import { sameSettings, type PlannedRun, type SweepPlan } from "./sweep-plan.js";

/** A sweep to start or to go on with, and where it reports. */
export interface SweepOptions {
  readonly plan: SweepPlan;
  /** The sweep's folder: its state, and a folder a run. */
  readonly out: string;
  /** The command line that starts hira, without arguments of its own. */
  readonly program: readonly string[];
  readonly interrupt: InterruptSignal;
  readonly line: (text: string) => void;
}

/** How a sweep has ended, for each of its runs in order. */
export interface SweepResult {
  readonly runs: readonly {
    readonly name: string;
    readonly state: SweepRun | undefined;
    /** Absolute; undefined where the run has not made it. */
    readonly folder: string | undefined;
  }[];
  /** Runs that have failed, or whose answers have. */
  readonly failed: readonly string[];
}

/** Whether a process that an interrupted sweep has started is still at work in its folder. */
const isAlive = (pid: number | undefined, out: string): boolean => {
  if (pid === undefined || !isProcessAlive(pid)) return false;
  try {
    // The number may be another process's by now: it is ours only if its command line names the folder.
    return readFileSync(`/proc/${String(pid)}/cmdline`, "utf8").includes(out);
  } catch {
    return true;
  }
};

/** Starts a command line of hira in a process group of its own, so that a signal from the terminal reaches it once: by us. */
const runProgram = (
  [command = "", ...args]: readonly string[],
  started: (pid: number | undefined) => Promise<void>,
): Promise<number> =>
  new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ["ignore", "inherit", "inherit"], detached: true });
    const told = started(child.pid);
    const pass = (signal: NodeJS.Signals): void => void child.kill(signal);
    const kill = (): void => void child.kill("SIGKILL");
    const release = (): void => {
      for (const name of interruptNames) process.off(name, pass);
      process.off("exit", kill);
    };
    for (const name of interruptNames) process.on(name, pass);
    process.on("exit", kill);
    child.on("error", (error) => {
      release();
      reject(error);
    });
    child.on("close", (code, signal) => {
      release();
      // A state that could not be written is told first.
      told.then(() => {
        resolve(code ?? (signal === null ? 1 : 128 + constants.signals[signal]));
      }, reject);
    });
  });

/** The folders below `folder` that a run has begun to write, the newest last. */
const runFoldersIn = async (folder: string): Promise<readonly string[]> => {
  const names = await readdir(folder, { recursive: true }).catch((): string[] => []);
  const folders = names
    .filter((name) => /(?:^|[/\\])run\.json$/.test(name))
    .map((name) => dirname(join(folder, name)));
  const times = await Promise.all(folders.map(async (path) => (await stat(path)).birthtimeMs));
  return folders
    .map((path, i) => ({ path, time: times[i] ?? 0 }))
    .sort((a, b) => a.time - b.time || (a.path < b.path ? -1 : 1))
    .map(({ path }) => path);
};

const statusOf = (code: number): SweepStatus =>
  code === 0 ? "done" : isInterruptCode(code) ? "stopped" : "failed";

/** The run's own folder, absolute: the recorded one, or the newest where the sweep was killed before it could record one. */
const folderOf = async (
  state: SweepRun | undefined,
  name: string,
  out: string,
): Promise<string | undefined> => {
  if (!state) return undefined;
  return state.runFolder === undefined
    ? (await runFoldersIn(join(out, name))).at(-1)
    : join(out, state.runFolder);
};

/**
 * The state as it is after a sweep was killed: a run that was at work then may have come to its end alone, which is known
 * by the file that it writes last.
 */
const settle = async (state: SweepState, out: string): Promise<SweepState> => {
  const settled = new Map(state);
  for (const [name, run] of state) {
    if (run.status !== "running" || isAlive(run.pid, out)) continue;
    const folder = await folderOf(run, name, out);
    if (folder !== undefined && existsSync(join(folder, "output.jsonl")))
      settled.set(name, { ...run, status: "done", runFolder: relative(out, folder) });
  }
  return settled;
};

const isDone = (state: SweepRun | undefined, run: PlannedRun, out: string): boolean =>
  state?.status === "done" &&
  sameSettings(state.settings, run.settings) &&
  state.runFolder !== undefined &&
  existsSync(join(out, state.runFolder, "output.jsonl"));

const isAnswered = (state: SweepRun | undefined, evaluate: SweepPlan["evaluate"]): boolean =>
  evaluate === undefined ||
  (state?.evaluation?.status === "done" &&
    JSON.stringify(state.evaluation.args) === JSON.stringify(evaluate));

/** What a sweep still has to do for a run. */
export interface SweepTask {
  readonly name: string;
  /** The arguments of `hira train`; undefined where the run is done with these settings. */
  readonly train: readonly string[] | undefined;
  /** The same for its answers, without --ckpt. */
  readonly evaluate: readonly string[] | undefined;
}

/** The folder that a stopped run of the same settings goes on in; undefined where there is none with a checkpoint. */
const resumable = async (
  state: SweepRun | undefined,
  run: PlannedRun,
  out: string,
): Promise<string | undefined> => {
  if (!state || state.status === "done" || !sameSettings(state.settings, run.settings))
    return undefined;
  const folder = await folderOf(state, run.name, out);
  if (folder === undefined || !existsSync(folder)) return undefined;
  return (await listCheckpoints(folder)).checkpoints.length > 0 ? folder : undefined;
};

const taskOf = async (
  run: PlannedRun,
  state: SweepRun | undefined,
  { plan, out }: Pick<SweepOptions, "plan" | "out">,
): Promise<SweepTask> => {
  const done = isDone(state, run, out);
  const folder = await resumable(state, run, out);
  return {
    name: run.name,
    train: done
      ? undefined
      : [
          ...run.args,
          `--output_folder=${join(out, run.name)}`,
          ...(folder === undefined ? [] : [`--resume_from_checkpoint=${folder}`]),
        ],
    evaluate: done && isAnswered(state, plan.evaluate) ? undefined : plan.evaluate,
  };
};

/** What a sweep would do now, run by run. @throws {UserError} if its state cannot be read */
export const planSweep = async (
  options: Pick<SweepOptions, "plan" | "out">,
): Promise<readonly SweepTask[]> => {
  const state = await settle(await readSweepState(join(options.out, sweepStateName)), options.out);
  const tasks: SweepTask[] = [];
  for (const run of options.plan.runs) tasks.push(await taskOf(run, state.get(run.name), options));
  return tasks;
};

/** @throws {UserError} if a process of this sweep is still at work, or answers would be mixed with earlier ones */
const requireStartable = (
  { plan, out }: Pick<SweepOptions, "plan" | "out">,
  state: SweepState,
): void => {
  for (const [name, { status, pid, evaluation }] of state) {
    const ours = [
      status === "running" ? pid : undefined,
      evaluation?.status === "running" ? evaluation.pid : undefined,
    ].find((id) => isAlive(id, out));
    if (ours !== undefined)
      throw new UserError(
        `Cannot go on with the sweep in ${out}: found its run ${name} still at work (process ${String(ours)}), expected none`,
        "Wait for it or end it, then start the sweep again",
      );
  }
  const { evaluate } = plan;
  const changed = plan.runs.filter((run) => {
    const known = state.get(run.name);
    return (
      evaluate !== undefined &&
      isDone(known, run, out) &&
      known?.evaluation !== undefined &&
      JSON.stringify(known.evaluation.args) !== JSON.stringify(evaluate)
    );
  });
  if (changed.length > 0)
    throw new UserError(
      `Cannot answer with other settings than before: found answers of ${changed.map(({ name }) => name).join(", ")} with other flags, expected those of evaluate`,
      `Answers that are there are never overwritten: choose another --out, or remove these runs from ${join(out, sweepStateName)} with their folders`,
    );
};

/**
 * Runs what is left of a sweep, one run after the other, each as a process of its own in its own folder.
 *
 * sweep.json holds how far it has come, written before and after each step. A run that failed does not keep the others
 * from running. A run that was stopped goes on from its newest checkpoint if it has one, else it begins anew.
 * @throws {UserError} if another process is at work in the folder
 */
export const runSweep = async (options: SweepOptions): Promise<SweepResult> => {
  const { plan, out, program, interrupt, line } = options;
  const path = join(out, sweepStateName);
  const state = new Map(await settle(await readSweepState(path), out));
  requireStartable(options, state);
  await requireWritableFolder(out, "Choose another --out");
  const update = async (name: string, change: Partial<SweepRun>): Promise<void> => {
    const known = state.get(name);
    if (!known) throw new RangeError(`Cannot record ${name}: it has not begun`);
    state.set(name, { ...known, ...change });
    await writeSweepState(path, state);
  };
  for (const [index, run] of plan.runs.entries()) {
    if (interrupt.requested !== undefined) break;
    const { name, settings } = run;
    const title = `[${String(index + 1)}/${String(plan.runs.length)}] ${name}`;
    const task = await taskOf(run, state.get(name), options);
    if (task.train === undefined && task.evaluate === undefined) {
      line(`${title}: done before`);
      continue;
    }
    if (task.train) {
      line(`${title}: hira train ${task.train.join(" ")}`);
      const before = new Set(await runFoldersIn(join(out, name)));
      const resumes = task.train.some((arg) => arg.startsWith("--resume_from_checkpoint"));
      state.set(name, {
        status: "running",
        settings,
        pid: undefined,
        runFolder: undefined,
        exitCode: undefined,
        evaluation: undefined,
      });
      const code = await runProgram([...program, "train", ...task.train], (pid) =>
        update(name, { pid }),
      );
      const begun = await runFoldersIn(join(out, name));
      const made =
        begun.find((folder) => !before.has(folder)) ?? (resumes ? begun.at(-1) : undefined);
      await update(name, {
        status: made === undefined && code === 0 ? "failed" : statusOf(code),
        exitCode: code,
        runFolder: made === undefined ? undefined : relative(out, made),
      });
      if (statusOf(code) === "failed") line(`${title}: failed with exit code ${String(code)}`);
    }
    const { status, runFolder } = state.get(name) ?? {};
    if (status !== "done" || runFolder === undefined || !task.evaluate) continue;
    if (interrupt.requested !== undefined) break;
    const args = [...task.evaluate, `--ckpt=${join(out, runFolder)}`];
    line(`${title}: hira train ${args.join(" ")}`);
    const evaluation = { args: task.evaluate, status: "running", pid: undefined } as const;
    const code = await runProgram([...program, "train", ...args], (pid) =>
      update(name, { evaluation: { ...evaluation, pid } }),
    );
    await update(name, { evaluation: { ...evaluation, status: statusOf(code) } });
    if (statusOf(code) === "failed")
      line(`${title}: its answers failed with exit code ${String(code)}`);
  }
  const runs = plan.runs.map(({ name }) => {
    const known = state.get(name);
    const folder = known?.runFolder === undefined ? undefined : join(out, known.runFolder);
    return { name, state: known, folder };
  });
  const failed = runs.filter(
    ({ state: known }) => known?.status === "failed" || known?.evaluation?.status === "failed",
  );
  return { runs, failed: failed.map(({ name }) => name) };
};
