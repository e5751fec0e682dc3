import { open, readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { syncFolder, writeFault, writeFileAtomically } from "../core/atomic-file.js";
import { messageOf, UserError, userErrorOfFaults } from "../core/errors.js";
import { makeFolder } from "../core/folder.js";
import type { FileHash } from "../core/file-hash.js";
import { hashFile } from "../core/file-hash.js";
import { quoteJson, readJsonObject } from "../core/json-file.js";
import { isJsonObject } from "../core/json.js";
import { findStandIn } from "../core/stand-in.js";
import {
  readSafetensorsHeader,
  readTensorAsFloat32,
  writeSafetensors,
} from "../models/weights/safetensors.js";
import type { SafetensorsFile } from "../models/weights/safetensors.js";
import type { TrainerState } from "./trainer-state.js";
import { checkpointName, readTrainerState, trainerStateJson } from "./trainer-state.js";

/**
 * The data and random state of a run. Everything random is a pure function of (seed, purpose, step), and the order of
 * the data one of (seed, epoch), so these numbers are the whole of it.
 */
export interface RunPosition {
  readonly seed: number;
  /** Updates done. */
  readonly step: number;
  /** The epoch under way, from 0. */
  readonly epoch: number;
  /** Micro-batches of that epoch already used. */
  readonly batch: number;
}

/** Adam's two moments of one parameter. */
interface Moments {
  /** Running mean of the gradient. */
  readonly m: Float32Array;
  /** Running mean of its square. */
  readonly v: Float32Array;
}

/** The moments of a parameter by its name, in its shape, or functions that fetch them when their turn comes: m, then v, once each. */
export interface MomentsToWrite {
  readonly name: string;
  readonly shape: readonly number[];
  readonly m: Float32Array | (() => Float32Array | Promise<Float32Array>);
  readonly v: Float32Array | (() => Float32Array | Promise<Float32Array>);
}

/** All that a run needs to go on from here, and its weights. */
export interface CheckpointToWrite {
  readonly state: TrainerState;
  readonly position: RunPosition;
  readonly moments: Iterable<MomentsToWrite>;
  /**
   * Writes the trained weights into `folder`: adapter_config.json and adapter_model.safetensors, or for fft a model
   * folder (config.json, safetensors).
   */
  readonly writeWeights: (folder: string) => Promise<void>;
}

const markerName = "complete.json";
const stateName = "trainer_state.json";
const positionName = "position.json";
const optimizerName = "optimizer.safetensors";
const format = 1;

/** Hidden names beside the checkpoints: begun, replaced by a newer one of the same step, given up. */
const endings = { begun: ".begun", replaced: ".replaced", removed: ".removed" } as const;
const hiddenName = (name: string, ending: string): string => `.${name}${ending}`;

/** Paths of the files under `folder`, relative to it, with "/" between the parts, sorted. */
const filesUnder = async (folder: string): Promise<string[]> => {
  const entries = await readdir(folder, { withFileTypes: true });
  const nested = await Promise.all(
    entries.map(async (entry) =>
      entry.isDirectory()
        ? (await filesUnder(join(folder, entry.name))).map((path) => `${entry.name}/${path}`)
        : [entry.name],
    ),
  );
  return nested.flat().sort();
};

const syncFile = async (path: string): Promise<void> => {
  const file = await open(path, "r+");
  try {
    await file.sync();
  } finally {
    await file.close();
  }
};

const writeOptimizer = (
  path: string,
  step: number,
  moments: Iterable<MomentsToWrite>,
): Promise<void> =>
  writeSafetensors(
    path,
    Array.from(moments, ({ name, shape, m, v }) => [
      { name: `m.${name}`, dtype: "float32" as const, shape, data: m },
      { name: `v.${name}`, dtype: "float32" as const, shape, data: v },
    ]).flat(),
    { format: "pt", step: String(step) },
  );

/**
 * Writes `checkpoint-<step>/` into the run folder and resolves to its path.
 *
 * Everything goes into a hidden folder beside, the marker `complete.json` (sizes and SHA-256 of all files) last; then it
 * is synced and renamed. Killed at any moment, the run folder holds the checkpoints it held before, or one more. A
 * checkpoint of the same step is replaced. `best.json` in the run folder then names the best checkpoint.
 * @throws {UserError} if something cannot be written; what `writeWeights` throws is passed on; no trace is left
 */
export const writeCheckpoint = async (
  runFolder: string,
  { state, position, moments, writeWeights }: CheckpointToWrite,
): Promise<string> => {
  await cleanRunFolder(runFolder);
  const name = checkpointName(state.step);
  const folder = join(runFolder, name);
  const begun = join(runFolder, hiddenName(name, endings.begun));
  try {
    await makeFolder(begun);
    await writeWeights(begun);
    await writeOptimizer(join(begun, optimizerName), state.step, moments);
    await writeFileAtomically(join(begun, stateName), trainerStateJson(state));
    await writeFileAtomically(
      join(begun, positionName),
      `${JSON.stringify(position, undefined, 2)}\n`,
    );
    const files: Record<string, FileHash> = {};
    for (const file of await filesUnder(begun)) {
      await syncFile(join(begun, file));
      files[file] = await hashFile(join(begun, file));
    }
    const missing = missingFiles(Object.keys(files));
    if (missing.length > 0)
      throw new TypeError(
        `Cannot write ${folder}: writeWeights has not made ${missing.join(", ")}`,
      );
    await writeFileAtomically(
      join(begun, markerName),
      `${JSON.stringify({ format, step: state.step, files }, undefined, 2)}\n`,
    );
    await syncFolder(begun);
    await replaceFolder(begun, folder, join(runFolder, hiddenName(name, endings.replaced)));
    await syncFolder(runFolder);
  } catch (error) {
    await rm(begun, { recursive: true, force: true }).catch(() => undefined);
    throw writeFault(error, folder, "Choose an --output_folder that is writable and has room");
  }
  await writeBest(runFolder, state);
  return folder;
};

/** Renames `from` to `to`. A folder that is there steps aside first, and is found again by cleanRunFolder after a kill. */
const replaceFolder = async (from: string, to: string, aside: string): Promise<void> => {
  const exists = await stat(to).then(
    () => true,
    () => false,
  );
  if (exists) await rename(to, aside);
  await rename(from, to);
  if (exists) await rm(aside, { recursive: true, force: true });
};

/** best.json: name, step, metric and loss of the best checkpoint, for people and scripts; hira itself reads trainer_state.json. */
const writeBest = async (
  runFolder: string,
  { evaluations, bestMetric = "loss", logHistory }: TrainerState,
): Promise<void> => {
  const { best } = evaluations;
  if (best === undefined) return;
  const measured = logHistory.findLast(
    (entry) => entry.step === best.step && entry.eval_loss !== undefined,
  );
  const json = {
    checkpoint: checkpointName(best.step),
    step: best.step,
    [`eval_${bestMetric}`]: best.metric,
    ...(bestMetric !== "loss" && measured && { eval_loss: measured.eval_loss }),
  };
  await writeFileAtomically(
    join(runFolder, "best.json"),
    `${JSON.stringify(json, undefined, 2)}\n`,
  );
};

/**
 * Removes what a killed run has left half done: begun checkpoints, those whose removal had begun, and files that
 * writeFileAtomically had begun; puts a checkpoint back that was about to be replaced. Only the process that owns the run
 * folder may call it.
 *
 * @throws {UserError} if the folder cannot be read or changed
 */
export const cleanRunFolder = async (runFolder: string): Promise<void> => {
  try {
    for (const hidden of await readdir(runFolder)) {
      const writer = /^\..+\.(\d+)\.tmp$/.exec(hidden)?.[1];
      if (writer !== undefined && Number(writer) !== process.pid)
        await rm(join(runFolder, hidden), { force: true });
      const parts = /^\.(checkpoint-\d+)(\.begun|\.replaced|\.removed)$/.exec(hidden);
      const [, name, ending] = parts ?? [];
      if (name === undefined) continue;
      const path = join(runFolder, hidden);
      // Fails where the newer one has taken its place; then this one goes.
      if (ending === endings.replaced)
        await rename(path, join(runFolder, name)).catch(() => undefined);
      await rm(path, { recursive: true, force: true });
    }
  } catch (error) {
    throw new UserError(`Cannot clean ${runFolder}: ${messageOf(error)}`);
  }
};

/**
 * Removes a checkpoint so that no half of it is ever seen: renamed first, then deleted.
 *
 * @throws {UserError} if it cannot be removed
 */
export const removeCheckpoint = async (runFolder: string, step: number): Promise<void> => {
  const name = checkpointName(step);
  const removed = join(runFolder, hiddenName(name, endings.removed));
  try {
    await rename(join(runFolder, name), removed);
    await rm(removed, { recursive: true, force: true });
  } catch (error) {
    throw new UserError(`Cannot remove ${join(runFolder, name)}: ${messageOf(error)}`);
  }
};

/** The files that a checkpoint must have and `files` lacks. */
const missingFiles = (files: readonly string[]): string[] => {
  const has = new Set(files);
  const weights = has.has("config.json")
    ? files.some((file) => /^model.*\.safetensors$/.test(file))
      ? []
      : ["model.safetensors"]
    : ["adapter_config.json", "adapter_model.safetensors"];
  return [optimizerName, stateName, positionName, ...weights].filter((file) => !has.has(file));
};

/** What the trained weights of a checkpoint are: a peft adapter, or (fft) a whole model folder. */
export type WeightsKind = "adapter" | "model";

/** A checkpoint whose files were checked. */
export interface Checkpoint {
  readonly folder: string;
  readonly step: number;
  readonly weights: WeightsKind;
  readonly state: TrainerState;
  readonly position: RunPosition;
}

/** How much of a checkpoint is checked: that its files are there with their sizes, or also their content. */
export type CheckDepth = "sizes" | "content";

const isFileHash = (value: unknown): value is FileHash =>
  isJsonObject(value) && typeof value.bytes === "number" && typeof value.sha256 === "string";

/** The parts of a relative path that stays below its folder. */
const isInside = (path: string): boolean =>
  path !== "" && path.split(/[/\\]/).every((part) => part !== "" && part !== "." && part !== "..");

/** The files that a marker lists. Its faults are added to `faults`. */
const readMarker = async (
  folder: string,
  faults: string[],
): Promise<ReadonlyMap<string, FileHash>> => {
  const listed = new Map<string, FileHash>();
  let marker: Readonly<Record<string, unknown>>;
  try {
    marker = await readJsonObject(join(folder, markerName));
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    faults.push(`${markerName}: ${error.message}`);
    return listed;
  }
  if (marker.format !== format)
    faults.push(
      `${markerName}: found format ${quoteJson(marker.format)}, expected ${String(format)}`,
    );
  const files = isJsonObject(marker.files) ? marker.files : {};
  for (const [file, facts] of Object.entries(files)) {
    if (isInside(file) && isFileHash(facts)) listed.set(file, facts);
    else faults.push(`${markerName}: found ${quoteJson(facts)} for ${quoteJson(file)}`);
  }
  return listed;
};

/** What is wrong with a checkpoint folder, a line a fault; nothing for a good one. */
export const findCheckpointFaults = async (
  folder: string,
  depth: CheckDepth,
): Promise<string[]> => {
  const present = await readdir(folder).catch(() => undefined);
  if (present === undefined) return ["found no folder that can be read"];
  if (!present.includes(markerName))
    return [markerName, ...missingFiles(present)].map((file) => `${file}: missing`);
  const faults: string[] = [];
  const listed = await readMarker(folder, faults);
  if (faults.length > 0) return faults;
  faults.push(...missingFiles([...listed.keys()]).map((file) => `${file}: not in ${markerName}`));
  for (const [file, expected] of listed) {
    const path = join(folder, file);
    const size = await stat(path).then(
      (stats) => stats.size,
      () => undefined,
    );
    if (size === undefined) faults.push(`${file}: missing`);
    else if (size !== expected.bytes && (await findStandIn(path)))
      faults.push(`${file}: found a pointer of git-lfs: git lfs pull fetches the file`);
    else if (size !== expected.bytes)
      faults.push(`${file}: found ${String(size)} bytes, expected ${String(expected.bytes)}`);
    else if (depth === "content" && (await hashFile(path)).sha256 !== expected.sha256)
      faults.push(`${file}: found other content than was written`);
  }
  return faults;
};

const readPosition = async (path: string): Promise<RunPosition> => {
  const json = await readJsonObject(path);
  const keys = ["seed", "step", "epoch", "batch"] as const;
  const faults = keys
    .filter((key) => !Number.isSafeInteger(json[key]))
    .map((key) => `found ${quoteJson(json[key])} in ${key}, expected a whole number`);
  if (faults.length > 0) throw userErrorOfFaults(`Cannot read ${path}`, faults);
  return Object.fromEntries(keys.map((key) => [key, json[key]])) as unknown as RunPosition;
};

/**
 * Reads a checkpoint folder; its weights and optimizer stay on the disk.
 *
 * @param depth "content" (the default) compares every file's SHA-256
 * @throws {UserError} listing all that is missing or damaged
 */
export const readCheckpoint = async (
  folder: string,
  depth: CheckDepth = "content",
): Promise<Checkpoint> => {
  const faults = await findCheckpointFaults(folder, depth);
  if (faults.length > 0)
    throw userErrorOfFaults(
      `Cannot read the checkpoint ${folder}`,
      faults,
      "The folder was not copied whole, or another program has written it: copy it again, or choose another checkpoint",
    );
  const state = await readTrainerState(join(folder, stateName));
  const isModel = (await readdir(folder)).includes("config.json");
  return {
    folder,
    step: state.step,
    weights: isModel ? "model" : "adapter",
    state,
    position: await readPosition(join(folder, positionName)),
  };
};

/** The optimizer of a checkpoint: checked, and read one parameter at a time. */
export interface OptimizerReader {
  /** Updates done. */
  readonly step: number;
  read(name: string): Promise<Moments>;
}

/**
 * Opens a checkpoint's optimizer for the parameters `expected` (shape by name).
 *
 * @throws {UserError} listing every parameter that is missing, unknown or has another shape
 */
export const openOptimizer = async (
  { folder, step }: Checkpoint,
  expected: ReadonlyMap<string, readonly number[]>,
): Promise<OptimizerReader> => {
  const path = join(folder, optimizerName);
  const file = await readSafetensorsHeader(path);
  const faults = optimizerFaults(file, expected);
  if (faults.length > 0)
    throw userErrorOfFaults(
      `Cannot go on from ${path}`,
      faults,
      "Go on with the options of the run that wrote the checkpoint",
    );
  const read = async (name: string): Promise<Float32Array> => {
    const entry = file.entries.get(name);
    if (entry === undefined) throw new RangeError(`Cannot read "${name}" from ${path}: not there`);
    return readTensorAsFloat32(entry);
  };
  return {
    step,
    read: async (name) => ({ m: await read(`m.${name}`), v: await read(`v.${name}`) }),
  };
};

const optimizerFaults = (
  file: SafetensorsFile,
  expected: ReadonlyMap<string, readonly number[]>,
): string[] => {
  const faults: string[] = [];
  const unknown = new Set(file.entries.keys());
  for (const [name, shape] of expected) {
    for (const key of [`m.${name}`, `v.${name}`]) {
      unknown.delete(key);
      const entry = file.entries.get(key);
      if (entry === undefined) faults.push(`"${key}": missing`);
      else if (entry.dtype !== "float32" || quoteJson(entry.shape) !== quoteJson(shape))
        faults.push(
          `"${key}": found ${entry.dtype} ${quoteJson(entry.shape)}, expected float32 ${quoteJson(shape)}`,
        );
    }
  }
  for (const key of unknown) faults.push(`"${key}": found, expected no such parameter`);
  return faults;
};
