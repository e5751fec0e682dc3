import { readdir } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { UserError } from "../core/errors.js";
import { listFolder } from "../core/folder.js";
import { findCheckpointFaults, removeCheckpoint } from "./checkpoint.js";
import { faultOfOuterFolder } from "./nested-folders.js";
import { checkpointName, checkpointStep, readBestCheckpoint } from "./trainer-state.js";

/** A complete checkpoint of a run folder. */
export interface CheckpointEntry {
  readonly step: number;
  readonly folder: string;
}

/** The checkpoints in a run's folder. */
export interface CheckpointList {
  /** By step, the lowest first. */
  readonly checkpoints: readonly CheckpointEntry[];
  /** Folders named like a checkpoint that are none, for the person to see. */
  readonly skipped: readonly { readonly folder: string; readonly reason: string }[];
}

/**
 * The complete checkpoints of a run folder; the others are left out, with the reason.
 *
 * @throws {UserError} if the run folder cannot be read
 */
export const listCheckpoints = async (runFolder: string): Promise<CheckpointList> => {
  const checkpoints: CheckpointEntry[] = [];
  const skipped: { folder: string; reason: string }[] = [];
  for (const name of await listFolder(runFolder)) {
    const step = checkpointStep(name);
    if (step === undefined) continue;
    const folder = join(runFolder, name);
    const faults = await findCheckpointFaults(folder, "sizes");
    if (faults.length === 0) checkpoints.push({ step, folder });
    else skipped.push({ folder, reason: faults.join("; ") });
  }
  checkpoints.sort((a, b) => a.step - b.step);
  return { checkpoints, skipped };
};

/** What --ckpt and --load_order have chosen. */
export interface PickedCheckpoint {
  /** The checkpoint to load. */
  readonly best: CheckpointEntry;
  /** Its validation loss, or what --metric_for_best has named; undefined where the run had not evaluated yet. */
  readonly metric: number | undefined;
  /** The one that --load_order named, whose trainer_state.json names the best. */
  readonly picked: CheckpointEntry;
  readonly skipped: CheckpointList["skipped"];
}

const nameList = ({ checkpoints, skipped }: CheckpointList): string =>
  [
    checkpoints.map(({ step }) => checkpointName(step)).join(", ") || "no complete checkpoint",
    ...skipped.map(({ folder, reason }) => `${folder} (${reason})`),
  ].join("; ");

/**
 * The best checkpoint as it was known when checkpoint number `loadOrder` of the run folder was saved.
 *
 * `loadOrder` is an index into the checkpoints in order of step, as Python counts: -1 is the last, 0 the first. Before
 * the first evaluation that checkpoint is itself the one to load. The best one is looked up by its name inside
 * `runFolder`; the recorded path is not followed, since the folder may have been moved.
 * Source: --ckpt of train_hira.py, _load_best_model of customized_trainer.py.
 * @throws {UserError} if there is no such checkpoint, or the best one is not there
 */
export const pickCheckpoint = async (
  runFolder: string,
  loadOrder: number,
): Promise<PickedCheckpoint> => {
  const list = await listCheckpoints(runFolder);
  const { checkpoints, skipped } = list;
  if (checkpoints.length === 0)
    throw new UserError(
      `Cannot load a checkpoint from ${runFolder}: found ${nameList(list)}, expected at least one complete checkpoint-<step>`,
      "A run that was stopped before its first checkpoint has none; folders that train_hira.py wrote hold pickled adapters, which are not read",
    );
  const picked = checkpoints.at(loadOrder);
  if (picked === undefined || !Number.isInteger(loadOrder))
    throw new UserError(
      `Cannot load checkpoint --load_order=${String(loadOrder)} of ${runFolder}: found ${nameList(list)}, expected a whole number from ${String(-checkpoints.length)} to ${String(checkpoints.length - 1)}`,
    );
  const named = await readBestCheckpoint(join(picked.folder, "trainer_state.json"));
  if (named === undefined) return { best: picked, metric: undefined, picked, skipped };
  const best = checkpoints.find(({ step }) => step === named.step);
  if (best === undefined)
    throw new UserError(
      `Cannot load the best checkpoint of ${runFolder}: found ${nameList(list)}, expected ${checkpointName(named.step)}, which ${checkpointName(picked.step)}/trainer_state.json names`,
      `Copy ${checkpointName(named.step)} back into the folder, or give one checkpoint folder itself`,
    );
  return { best, metric: named.metric, picked, skipped };
};

/**
 * Removes the oldest checkpoints beyond `limit` (--save_total_limit; 0 or less keeps all); resolves to the steps removed.
 *
 * The newest and the best one always stay, so a limit of 1 may leave two folders. Incomplete folders are not counted
 * and not touched.
 * Source: _sorted_checkpoints and _rotate_checkpoints of transformers 4.41.1.
 * @throws {UserError} if a folder cannot be removed
 */
export const rotateCheckpoints = async (
  runFolder: string,
  limit: number,
  bestStep: number | undefined,
): Promise<number[]> => {
  if (limit <= 0) return [];
  const { checkpoints } = await listCheckpoints(runFolder);
  const steps = checkpoints.map(({ step }) => step);
  const newest = steps.at(-1);
  const stays = (step: number): boolean => step === newest || step === bestStep;
  const room = Math.max(limit, steps.filter(stays).length);
  const removed = steps.filter((step) => !stays(step)).slice(0, Math.max(0, steps.length - room));
  for (const step of removed) await removeCheckpoint(runFolder, step);
  return removed;
};

/**
 * Removes the complete checkpoints of the steps that `isGone` names; resolves to these steps.
 *
 * @throws {UserError} if a folder cannot be removed
 */
export const removeCheckpoints = async (
  runFolder: string,
  isGone: (step: number) => boolean,
): Promise<number[]> => {
  const { checkpoints } = await listCheckpoints(runFolder);
  const removed = checkpoints.map(({ step }) => step).filter(isGone);
  for (const step of removed) await removeCheckpoint(runFolder, step);
  return removed;
};

/** What a folder given as --ckpt is. */
export type ResolvedFolder =
  /** A run folder: which checkpoint is for pickCheckpoint to say. */
  | { readonly kind: "run"; readonly folder: string }
  /** One checkpoint of hira; its run folder where that is still around it. */
  | { readonly kind: "checkpoint"; readonly folder: string; readonly runFolder: string | undefined }
  /** A peft adapter (adapter_config.json) of any program; --model must name its base. */
  | { readonly kind: "adapter"; readonly folder: string }
  /** A plain model folder: what it answers before anything is trained. */
  | { readonly kind: "model"; readonly folder: string };

const runFiles = ["output.jsonl", "run.json"];
const isRunFolder = (names: readonly string[]): boolean =>
  names.some((name) => checkpointStep(name) !== undefined || runFiles.includes(name));

/**
 * Tells a run folder, one checkpoint, a peft adapter and a plain model from one another by the files in them.
 *
 * A checkpoint that hira began but that lacks its marker or a file is an error, not an adapter.
 * @throws {UserError} if the folder cannot be read or is none of them
 */
export const resolveCheckpoint = async (path: string): Promise<ResolvedFolder> => {
  const folder = resolve(path);
  const names = await listFolder(folder, {
    task: `Cannot load ${path}`,
    expected: "a run's folder, one of its checkpoints, a peft adapter, or a model folder",
    hint: (found) =>
      found === "a file"
        ? "Give the folder that holds the file"
        : "Give the folder that a training run has printed",
  });
  if (["complete.json", "position.json", "optimizer.safetensors"].some((n) => names.includes(n))) {
    const faults = await findCheckpointFaults(folder, "sizes");
    if (faults.length > 0)
      throw new UserError(
        `Cannot read the checkpoint ${path}: found ${faults.join("; ")}`,
        "The folder was not copied whole: copy it again, or choose another checkpoint",
      );
    const parent = dirname(folder);
    const parentNames = await readdir(parent).catch((): string[] => []);
    const hasRun = runFiles.some((name) => parentNames.includes(name));
    return { kind: "checkpoint", folder, runFolder: hasRun ? parent : undefined };
  }
  if (names.includes("adapter_config.json")) return { kind: "adapter", folder };
  const outer = await faultOfOuterFolder(path, names);
  if (outer) throw outer;
  if (isRunFolder(names)) return { kind: "run", folder };
  if (names.includes("config.json")) return { kind: "model", folder };
  throw new UserError(
    `Cannot load ${path}: found ${names.slice(0, 8).join(", ") || "an empty folder"}${names.length > 8 ? ", ..." : ""}, expected a run folder (checkpoint-*), one checkpoint, a peft adapter (adapter_config.json), or a model folder`,
    "Give the folder that a training run has printed",
  );
};
