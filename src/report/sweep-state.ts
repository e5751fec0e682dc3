import { existsSync } from "node:fs";
import { writeFileAtomically } from "../core/atomic-file.js";
import { UserError } from "../core/errors.js";
import { quoteJson, readJsonObject, type JsonObject } from "../core/json-file.js";
import { isJsonObject } from "../core/json.js";

/** The file of a sweep's folder that says how far the sweep has come. */
export const sweepStateName = "sweep.json";

/** How far a run of a sweep has come. */
export type SweepStatus = "running" | "done" | "failed" | "stopped";

const statuses: readonly SweepStatus[] = ["running", "done", "failed", "stopped"];

/** What a sweep knows of one of its runs. */
export interface SweepRun {
  /** The training's: evaluating comes after "done". */
  readonly status: SweepStatus;
  /** Every flag of the run with its effective value. */
  readonly settings: JsonObject;
  /** The process that trains, or has trained. */
  readonly pid: number | undefined;
  /** The run's own folder, relative to the sweep's; undefined before the run has made it. */
  readonly runFolder: string | undefined;
  readonly exitCode: number | undefined;
  /** The flags with which the run has been answered, or has begun to be. */
  readonly evaluation:
    | {
        readonly args: readonly string[];
        readonly status: SweepStatus;
        readonly pid: number | undefined;
      }
    | undefined;
}

/** A sweep's state: its runs by name. */
export type SweepState = ReadonlyMap<string, SweepRun>;

const format = 1;

/** Writes the state as a whole file, so that a sweep that is killed at any moment leaves the old one or the new one. */
export const writeSweepState = (path: string, runs: SweepState): Promise<void> => {
  const json = {
    format,
    runs: Object.fromEntries(
      [...runs].map(([name, { status, settings, pid, runFolder, exitCode, evaluation }]) => [
        name,
        {
          status,
          pid: pid ?? null,
          run_folder: runFolder ?? null,
          exit_code: exitCode ?? null,
          evaluation: evaluation ? { ...evaluation, pid: evaluation.pid ?? null } : null,
          settings,
        },
      ]),
    ),
  };
  return writeFileAtomically(path, `${JSON.stringify(json, undefined, 2)}\n`);
};

const isStatus = (value: unknown): value is SweepStatus =>
  statuses.some((status) => status === value);

const numberOf = (value: unknown): number | undefined =>
  typeof value === "number" ? value : undefined;

/** A run's entry; undefined if it is none. */
const parseRun = (value: unknown): SweepRun | undefined => {
  if (!isJsonObject(value) || !isStatus(value.status) || !isJsonObject(value.settings))
    return undefined;
  const { status, settings, pid, run_folder: runFolder, exit_code: exitCode, evaluation } = value;
  return {
    status,
    settings,
    pid: numberOf(pid),
    runFolder: typeof runFolder === "string" ? runFolder : undefined,
    exitCode: numberOf(exitCode),
    evaluation:
      isJsonObject(evaluation) && isStatus(evaluation.status) && Array.isArray(evaluation.args)
        ? {
            args: evaluation.args.map(String),
            status: evaluation.status,
            pid: numberOf(evaluation.pid),
          }
        : undefined,
  };
};

/** The state of a sweep; empty where there is none yet. @throws {UserError} if the file is broken */
export const readSweepState = async (path: string): Promise<SweepState> => {
  if (!existsSync(path)) return new Map();
  const { format: found, runs } = await readJsonObject(path);
  const hint = "Choose another --out, or remove the file: all runs then begin anew";
  if (found !== format || !isJsonObject(runs))
    throw new UserError(
      `Cannot read ${path}: found format ${quoteJson(found)}, expected ${String(format)} with runs`,
      hint,
    );
  return new Map(
    Object.entries(runs).map(([name, value]) => {
      const run = parseRun(value);
      if (run) return [name, run] as const;
      throw new UserError(
        `Cannot read ${path}: found ${quoteJson(value)} for ${JSON.stringify(name)}, expected a run`,
        hint,
      );
    }),
  );
};
