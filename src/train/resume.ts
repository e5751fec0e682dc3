import { elementCount } from "../core/dtype.js";
import { UserError, userErrorOfFaults } from "../core/errors.js";
import { quoteJson } from "../core/json-file.js";
import {
  findCheckpointFaults,
  openOptimizer,
  readCheckpoint,
  type Checkpoint,
  type RunPosition,
} from "./checkpoint.js";
import { listCheckpoints, resolveCheckpoint, type CheckpointList } from "./checkpoint-folder.js";
import type { ParameterStore } from "./parameters.js";
import type { Shards } from "./shards.js";
import { checkpointName, checkpointStep } from "./trainer-state.js";

/** The run that a folder belongs to, and the checkpoint that it is, if it is one. */
export interface ResumableRun {
  readonly runFolder: string;
  /** The step of a checkpoint that was named; undefined where the run's folder was. */
  readonly step: number | undefined;
}

/**
 * What `path`, a run's folder or one of its checkpoints, asks to go on with.
 *
 * @throws {UserError} if it is neither, or a checkpoint without its run
 */
export const locateRun = async (path: string): Promise<ResumableRun> => {
  const found = await resolveCheckpoint(path);
  if (found.kind === "run") return { runFolder: found.folder, step: undefined };
  if (found.kind === "checkpoint" && found.runFolder !== undefined)
    return { runFolder: found.runFolder, step: checkpointStep(found.folder) };
  const words = {
    checkpoint: "a checkpoint without its run",
    adapter: "an adapter",
    model: "a model",
  };
  throw new UserError(
    `Cannot go on from ${path}: found ${words[found.kind]}, expected the folder of a run, or one of its checkpoints inside it`,
    "run.json beside the checkpoints says what the run was; a copy needs it too",
  );
};

/** The checkpoint that a run goes on from. */
export interface ResumePoint {
  readonly checkpoint: Checkpoint;
  /** Newer ones that were passed over, and why. */
  readonly skipped: CheckpointList["skipped"];
}

/** Why training cannot go on from a checkpoint of the list; nothing for a good one. */
const findFaults = async (
  folder: string,
  { checkpoints }: CheckpointList,
): Promise<readonly string[]> => {
  const faults = await findCheckpointFaults(folder, "content");
  if (faults.length > 0) return faults;
  const { best } = (await readCheckpoint(folder, "sizes")).state.evaluations;
  return best === undefined || checkpoints.some(({ step }) => step === best.step)
    ? []
    : [`${checkpointName(best.step)}, the best one when it was saved, is missing`];
};

/**
 * The newest checkpoint of a run folder that is whole, every byte of it, and whose best one is there; or the one of `step`.
 *
 * @throws {UserError} if there is none, saying what is wrong with each
 */
export const findResumePoint = async ({ runFolder, step }: ResumableRun): Promise<ResumePoint> => {
  const list = await listCheckpoints(runFolder);
  const skipped = step === undefined ? [...list.skipped] : [];
  const candidates = [...list.checkpoints].reverse();
  for (const candidate of candidates) {
    const { folder } = candidate;
    if (step !== undefined && candidate.step !== step) continue;
    const faults = await findFaults(folder, list);
    if (faults.length === 0) {
      const isNewer = (other: string) => (checkpointStep(other) ?? 0) > candidate.step;
      return {
        checkpoint: await readCheckpoint(folder, "sizes"),
        skipped: skipped.filter((other) => isNewer(other.folder)),
      };
    }
    skipped.push({ folder, reason: faults.join("; ") });
  }
  const reasons = skipped.map(({ folder, reason }) => `${folder} (${reason})`).join(", ");
  throw new UserError(
    `Cannot go on from ${runFolder}: found ${reasons || "no checkpoint"}, expected a whole ${step === undefined ? "checkpoint" : checkpointName(step)}`,
    "Start the run again without --resume_from_checkpoint",
  );
};

/**
 * Puts the trained weights and both moments of a checkpoint into a store.
 *
 * @param readWeights reads the weights of a folder into the store
 * @throws {UserError} if they are not those of the store's parameters
 */
export const restoreParameters = async (
  checkpoint: Checkpoint,
  store: ParameterStore,
  readWeights: (folder: string) => Promise<void>,
): Promise<void> => {
  const shapes = new Map([...store.m].map(([name, { shape }]) => [name, shape]));
  const optimizer = await openOptimizer(checkpoint, shapes);
  await readWeights(checkpoint.folder);
  for (const name of shapes.keys()) {
    const { m, v } = await optimizer.read(name);
    for (const [tensor, elements] of [
      [store.m.get(name), m],
      [store.v.get(name), v],
    ] as const)
      if (tensor) store.device.write(tensor, elements);
  }
};

/**
 * The same where processes share the state out: process 0 reads, and each takes its share. Collective.
 *
 * @param checkpoint of process 0
 */
export const restoreShards = async (
  shards: Shards,
  checkpoint: Checkpoint | undefined,
  readWeights: (folder: string) => Promise<void>,
): Promise<void> => {
  const { group } = shards.sharding;
  const shapes = new Map(shards.specs.map(({ name, shape }) => [name, shape]));
  const optimizer = checkpoint && (await openOptimizer(checkpoint, shapes));
  for (const [name, shape] of shapes) {
    const empty = (): Float32Array => new Float32Array(elementCount(shape));
    const { m, v } = (await optimizer?.read(name)) ?? { m: empty(), v: empty() };
    for (const moment of [m, v]) await group.broadcast(moment, 0);
    shards.putMoments(name, { m, v });
  }
  if (checkpoint) {
    shards.makeValues();
    await readWeights(checkpoint.folder);
  }
  await shards.shareValues();
  shards.releaseValues();
};

/**
 * That a checkpoint stands where this run would stand after as many updates: equal flags and data imply it, and a file that
 * was changed by hand does not pass. A run may have become longer.
 *
 * @throws {UserError} naming every number that differs
 */
export const requirePosition = (
  { folder, state, position }: Checkpoint,
  expected: RunPosition & { readonly totalSteps: number },
): void => {
  const found = { ...position, totalSteps: state.totalSteps };
  const faults = (Object.keys(expected) as (keyof typeof expected)[])
    .filter((key) =>
      key === "totalSteps" ? found[key] > expected[key] : found[key] !== expected[key],
    )
    .map(
      (key) =>
        `${key}: found ${quoteJson(found[key])}, expected this run's ${quoteJson(expected[key])}`,
    );
  if (faults.length > 0) throw userErrorOfFaults(`Cannot go on from ${folder}`, faults);
};
