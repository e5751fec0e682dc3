import { existsSync } from "node:fs";
import { join } from "node:path";
import { UserError, userErrorOfFaults } from "../core/errors.js";
import type { JsonObject } from "../core/json-file.js";
import { quoteJson } from "../core/json-file.js";
import { isJsonObject } from "../core/json.js";
import { shellLine } from "../core/shell-line.js";
import { isDatasetFile } from "../datasets/registry.js";
import type { ProgressUi } from "../report/progress.js";
import { runConfigName } from "../report/run-config.js";
import { findRunFolders, type RunFolderOptions } from "../report/run-folder.js";
import { readRecordedRun, type RecordedRun, type RunFacts } from "../report/run-json.js";
import { lockRunFolder } from "../report/run-lock.js";
import { cleanRunFolder } from "../train/checkpoint.js";
import { removeCheckpoints } from "../train/checkpoint-folder.js";
import {
  findResumePoint,
  locateRun,
  type ResumableRun,
  type ResumePoint,
} from "../train/resume.js";
import { checkpointName } from "../train/trainer-state.js";

/** A run that goes on: its folder, held by this process, and where from. */
export interface ResumedRun extends ResumePoint {
  readonly runFolder: string;
  readonly recorded: RecordedRun;
  /** Whether it had come to its end: then it goes on only where it is to be longer. */
  readonly hasEnded: boolean;
  /** Gives the folder free again. */
  readonly release: () => Promise<void>;
}

/** `--resume_from_checkpoint` that names no folder, but the newest run of the same name that has not ended. */
export const isNewestWanted = (asked: string): boolean => asked === "true" || asked === "latest";

const hasEnded = (runFolder: string): boolean => existsSync(join(runFolder, "output.jsonl"));

const locate = async (
  asked: string,
  outputFolder: string,
  nameOf: () => RunFolderOptions,
): Promise<ResumableRun> => {
  if (isNewestWanted(asked)) {
    const folders = await findRunFolders(outputFolder, nameOf());
    const open = folders.find((folder) => !hasEnded(folder));
    if (open !== undefined) return locateRun(open);
    throw new UserError(
      `Cannot go on with a run in ${outputFolder}: found ${folders.length === 0 ? "none of these flags" : `${folders.join(", ")}, which ended`}, expected one that was stopped`,
      "Name the run: --resume_from_checkpoint=FOLDER",
    );
  }
  return locateRun(asked);
};

/**
 * Finds the run that `asked` (--resume_from_checkpoint) means, takes its folder for this process, mends what a kill has left
 * half done, and chooses the checkpoint. Checkpoints that are passed over are told.
 *
 * @throws {UserError} if there is no such run, it is still running, or it has no whole checkpoint
 */
export const openResumedRun = async (
  asked: string,
  outputFolder: string,
  nameOf: () => RunFolderOptions,
  ui: ProgressUi,
): Promise<ResumedRun> => {
  const run = await locate(asked, outputFolder, nameOf);
  const { runFolder } = run;
  const recorded = await readRecordedRun(runFolder);
  const release = await lockRunFolder(runFolder);
  try {
    await cleanRunFolder(runFolder);
    const point = await findResumePoint(run);
    for (const { folder, reason } of point.skipped) ui.warn(`${folder} is passed over: ${reason}`);
    return { ...point, runFolder, recorded, release, hasEnded: hasEnded(runFolder) };
  } catch (error) {
    await release();
    throw error;
  }
};

/** Flags that change no number of a run. Folders and files may have moved: what is in them is compared. */
const freeFlags: ReadonlySet<string> = new Set([
  "resume_from_checkpoint",
  "output_folder",
  "exp_name",
  "model_name",
  "data_dir",
  "validation",
  "adapter",
  "adapter_init",
  "save_total_limit",
  "max_shard_size",
  "log_steps",
  "log_format",
  "num_workers",
  "threads",
  // A device that computes in the same precision differs in rounding, which is told; see describeSurroundings.
  "device",
  "device_dir",
  // What it says of updates is compared; how the state is shared out changes no number.
  "ds_config",
  "skip_device_check",
  "local_rank",
  // What they ask for belongs to evaluation.
  "load_order",
]);

/** The flags that say how long a run is. */
const lengthFlags: ReadonlySet<string> = new Set(["max_steps", "epoch"]);

const flagFaults = (
  found: RunFacts["flags"],
  recorded: JsonObject,
  { defaults, isLonger }: SameRunOptions,
): string[] => {
  const names = new Set([...Object.keys(found), ...Object.keys(recorded)]);
  return [...names].flatMap((name) => {
    // A run of an earlier version did not know every flag, and did as the default says.
    const [now, then] = [found[name], name in recorded ? recorded[name] : defaults[name]];
    if (isLonger && lengthFlags.has(name)) return [];
    if (name === "grad_acc") return [];
    if (freeFlags.has(name) || quoteJson(now) === quoteJson(then)) return [];
    const areFiles = [now, then].every((x) => typeof x === "string" && isDatasetFile(x));
    if (name === "dataset" && areFiles) return [];
    return [`--${name}: found ${quoteJson(now)}, expected ${quoteJson(then)}`];
  });
};

/** Other processes may go on with a run, as long as an update has the same micro-batches: --grad_acc times processes. */
const updateFaults = ({ flags, processes = 1 }: RunFacts, recorded: RecordedRun): string[] => {
  const now = Number(flags.grad_acc ?? 1) * processes;
  const then = Number(recorded.flags.grad_acc ?? 1) * recorded.processes;
  if (now === then) return [];
  const expected = then % processes === 0 ? String(then / processes) : undefined;
  const of = (count: number): string =>
    count === 1 ? "one process" : `${String(count)} processes`;
  return [
    `--grad_acc: found ${quoteJson(flags.grad_acc)} in ${of(processes)}, expected ${expected ?? `${String(then)} micro-batches an update, which do not go into ${of(processes)}`}${recorded.processes === processes ? "" : ` (that run had ${quoteJson(recorded.flags.grad_acc)} in ${of(recorded.processes)})`}`,
  ];
};

/** The command line that goes on with a run. */
export const resumeCommand = (runFolder: string): string =>
  shellLine([
    ...["hira", "train", `--config=${join(runFolder, runConfigName)}`],
    `--resume_from_checkpoint=${runFolder}`,
  ]);

const hashOf = (file: unknown): unknown => (isJsonObject(file) ? file.sha256 : undefined);

const fileFaults = (facts: RunFacts, recorded: RecordedRun): string[] => {
  const faults: string[] = [];
  const { modelHashes } = recorded;
  const { folder, sha256 } = facts.model;
  for (const name of new Set([...Object.keys(sha256), ...Object.keys(modelHashes)])) {
    if (!(name in sha256)) faults.push(`${folder}: found no ${name}, expected it as in that run`);
    else if (sha256[name] !== modelHashes[name])
      faults.push(`${join(folder, name)}: found another file than that run had`);
  }
  if (facts.tokenizerHash !== recorded.tokenizerHash)
    faults.push(`${folder}: found another tokenizer than that run had`);
  const [now, then] = [Object.entries(facts.data), Object.entries(recorded.data)];
  if (now.length !== then.length)
    faults.push(
      `data: found ${String(now.length)} files, expected the ${String(then.length)} of that run`,
    );
  now.forEach(([path, file], i) => {
    const [oldPath, old] = then[i] ?? [];
    if (old !== undefined && file.sha256 !== hashOf(old))
      faults.push(`${path}: found other rows than that run read from ${oldPath ?? ""}`);
  });
  return faults;
};

/** How a run that goes on may differ from what it was. */
export interface SameRunOptions {
  /** Every flag's default, for flags that the run's version did not know. */
  readonly defaults: RunFacts["flags"];
  /** Whether it is to be longer than it was, see isLongerRun. */
  readonly isLonger: boolean;
}

/**
 * Whether a run is to have more updates than when its checkpoint was saved.
 *
 * @throws {UserError} if it has ended and is to have no more, or is pruned on a schedule that its length decides
 */
export const isLongerRun = (
  { runFolder, checkpoint, hasEnded: ended }: ResumedRun,
  { totalSteps, isPruned }: { readonly totalSteps: number; readonly isPruned: boolean },
): boolean => {
  const before = checkpoint.state.totalSteps;
  const isLonger = totalSteps > before;
  if (ended && !isLonger)
    throw new UserError(
      `Cannot go on with ${runFolder}: found output.jsonl, with which a run ends, expected a run that was stopped, or more updates than its ${String(before)}`,
      "More --max_steps or a larger --epoch makes it longer; --adapter begins a new run with what it has learned, and --ckpt evaluates it",
    );
  if (isLonger && isPruned)
    throw new UserError(
      `Cannot make ${runFolder} longer: found ${String(totalSteps)} updates, expected its ${String(before)}: pruning has followed a schedule over all of them`,
      "--adapter begins a new run with what it has learned",
    );
  return isLonger;
};

/** An accelerator with its versions; of the CPU, whose library is told by itself, the name alone. */
const deviceWords = (device: RunFacts["device"] | JsonObject): unknown =>
  device === undefined || device.name === "cpu" ? "cpu" : device.description;

/** The precision that a run computed in, which a --ds_config may have set. */
const precisionFaults = (
  { device, flags }: RunFacts,
  { device: before = {}, flags: then }: RecordedRun,
): string[] =>
  device === undefined ||
  before.precision === undefined ||
  device.precision === before.precision ||
  quoteJson(flags.precision) !== quoteJson(then.precision)
    ? []
    : [
        `--precision: found ${quoteJson(device.precision)}, expected ${quoteJson(before.precision)}`,
      ];

/** What a --ds_config says of updates. Records of earlier versions do not have it. */
const ruleFaults = ({ updates = {} }: RunFacts, recorded: RecordedRun): string[] =>
  [...new Set([...Object.keys(updates), ...Object.keys(recorded.updates)])].flatMap((name) => {
    const [now, then] = [quoteJson(updates[name]), quoteJson(recorded.updates[name])];
    return now === then ? [] : [`--ds_config, ${name}: found ${now}, expected ${then}`];
  });

/**
 * That this command line asks for the very run that is to go on.
 *
 * @throws {UserError} naming every flag and file that would change the run's numbers
 */
export const requireSameRun = (
  facts: RunFacts,
  { runFolder, recorded }: ResumedRun,
  options: SameRunOptions,
): void => {
  const faults = [
    ...flagFaults(facts.flags, recorded.flags, options),
    ...precisionFaults(facts, recorded),
    ...updateFaults(facts, recorded),
    ...ruleFaults(facts, recorded),
    ...fileFaults(facts, recorded),
  ];
  if (faults.length > 0)
    throw userErrorOfFaults(
      `Cannot go on with ${runFolder}`,
      faults,
      `Take the run's own flags: ${resumeCommand(runFolder)}`,
    );
};

/** A file beside output.jsonl, for the answers of a run before it was made longer; no command takes it for answers. */
export const earlierAnswers = (step: number): string => `output.jsonl.step-${String(step)}`;

/** What may change the last bits although the run is the same one: another program, ONNX Runtime or processor. */
export const describeSurroundings = (facts: RunFacts, { recorded }: ResumedRun): string[] => {
  const { code, host, device } = facts;
  const pairs: readonly (readonly [string, unknown, unknown])[] = [
    ["hira", code.version, recorded.code.version],
    ["commit", code.commit, recorded.code.commit],
    ["onnxruntime", host.onnxruntime, recorded.host.onnxruntime],
    ["processor", host.cpu, recorded.host.cpu],
    ["device", deviceWords(device), deviceWords(recorded.device)],
    ["processes", facts.processes ?? 1, recorded.processes],
    ["cores", host.cores, recorded.host.cores],
    ["--threads", facts.flags.threads, recorded.flags.threads],
  ];
  return pairs
    .filter(([, now, then]) => quoteJson(now) !== quoteJson(then))
    .map(([what, now, then]) => `${what} ${quoteJson(now)} in place of ${quoteJson(then)}`);
};

/**
 * Removes the checkpoints behind the one to go on from, which training writes again, and tells each.
 *
 * @throws {UserError} if a folder cannot be removed
 */
export const removeLaterCheckpoints = async (
  { runFolder, checkpoint }: ResumedRun,
  ui: ProgressUi,
): Promise<void> => {
  for (const step of await removeCheckpoints(runFolder, (step) => step > checkpoint.step))
    ui.line(
      `Removed ${checkpointName(step)}, which comes after ${checkpointName(checkpoint.step)}`,
    );
};
