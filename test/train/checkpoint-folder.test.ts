import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import type { ExecutionContext } from "ava";
import test from "ava";
import { UserError } from "../../src/core/errors.js";
import { writeCheckpoint } from "../../src/train/checkpoint.js";
import {
  listCheckpoints,
  pickCheckpoint,
  resolveCheckpoint,
  rotateCheckpoints,
} from "../../src/train/checkpoint-folder.js";
import { makeRunFolder, smallCheckpoint } from "../support/checkpoints.js";

/** A run whose best evaluation is at step 9; when 5 was saved, 5 was the best. */
const makeRun = async (t: ExecutionContext): Promise<string> => {
  const run = await makeRunFolder(t);
  await writeCheckpoint(run, smallCheckpoint(5, [5, 2]));
  await writeCheckpoint(run, smallCheckpoint(9, [9, 1]));
  await writeCheckpoint(run, smallCheckpoint(10, [9, 1]));
  return run;
};

const steps = async (run: string): Promise<number[]> =>
  (await listCheckpoints(run)).checkpoints.map(({ step }) => step);

test("listCheckpoints sorts by number and says why it skips a folder", async (t) => {
  const run = await makeRun(t);
  await rm(join(run, "checkpoint-9", "complete.json"));
  await mkdir(join(run, "checkpoint-99x"));
  await mkdir(join(run, ".checkpoint-7.begun"));
  const { checkpoints, skipped } = await listCheckpoints(run);
  t.deepEqual(checkpoints, [
    { step: 5, folder: join(run, "checkpoint-5") },
    { step: 10, folder: join(run, "checkpoint-10") },
  ]);
  t.deepEqual(skipped, [{ folder: join(run, "checkpoint-9"), reason: "complete.json: missing" }]);
});

test("pickCheckpoint loads the best that the checkpoint at loadOrder knew", async (t) => {
  const run = await makeRun(t);
  const chosen = async (loadOrder: number) => {
    const { picked, best, metric } = await pickCheckpoint(run, loadOrder);
    return [picked.step, best.step, metric];
  };
  t.deepEqual(await chosen(-1), [10, 9, 1]);
  t.deepEqual(await chosen(0), [5, 5, 2]);
  t.deepEqual(await chosen(1), [9, 9, 1]);
  t.deepEqual(await chosen(-3), [5, 5, 2]);
  for (const loadOrder of [3, -4, 0.5])
    await t.throwsAsync(pickCheckpoint(run, loadOrder), {
      instanceOf: UserError,
      message:
        /found checkpoint-5, checkpoint-9, checkpoint-10, expected a whole number from -3 to 2/,
    });
});

test("pickCheckpoint finds the best one in a folder that was moved", async (t) => {
  const run = await makeRun(t);
  const moved = join(await makeRunFolder(t), "elsewhere");
  await rename(run, moved);
  const { best } = await pickCheckpoint(moved, -1);
  t.is(best.folder, join(moved, "checkpoint-9"));
});

test("pickCheckpoint fails where the best one is missing, or none was saved", async (t) => {
  const run = await makeRun(t);
  await rm(join(run, "checkpoint-9"), { recursive: true });
  await t.throwsAsync(pickCheckpoint(run, -1), {
    instanceOf: UserError,
    message:
      /found checkpoint-5, checkpoint-10, expected checkpoint-9, which checkpoint-10\/trainer_state.json names/,
  });
  const empty = await makeRunFolder(t);
  await t.throwsAsync(pickCheckpoint(empty, -1), {
    instanceOf: UserError,
    message: /found no complete checkpoint, expected at least one/,
  });
});

test("pickCheckpoint takes a checkpoint itself where nothing was evaluated before it", async (t) => {
  const run = await makeRunFolder(t);
  await writeCheckpoint(run, smallCheckpoint(3));
  const { best, metric } = await pickCheckpoint(run, -1);
  t.deepEqual([best.step, metric], [3, undefined]);
});

test("rotateCheckpoints keeps the newest and the best whatever the limit", async (t) => {
  const run = await makeRunFolder(t);
  for (const step of [1, 2, 3, 4, 5]) await writeCheckpoint(run, smallCheckpoint(step));
  t.deepEqual(await rotateCheckpoints(run, 0, 2), []);
  t.deepEqual(await rotateCheckpoints(run, 5, 2), []);
  t.deepEqual(await rotateCheckpoints(run, 4, 1), [2]);
  t.deepEqual(await rotateCheckpoints(run, 3, 3), [1]);
  t.deepEqual(await rotateCheckpoints(run, 1, 3), [4]);
  t.deepEqual(await steps(run), [3, 5]);
  t.deepEqual(await rotateCheckpoints(run, 1, 5), [3]);
  t.deepEqual(await rotateCheckpoints(run, 1, undefined), []);
  t.deepEqual(await steps(run), [5]);
});

test("resolveCheckpoint tells run, checkpoint and adapter apart", async (t) => {
  const run = await makeRun(t);
  t.deepEqual(await resolveCheckpoint(run), { kind: "run", folder: run });
  const folder = join(run, "checkpoint-9");
  t.deepEqual(await resolveCheckpoint(folder), {
    kind: "checkpoint",
    folder,
    runFolder: undefined,
  });
  await writeFile(join(run, "run.json"), "{}");
  t.deepEqual(await resolveCheckpoint(folder), { kind: "checkpoint", folder, runFolder: run });

  const adapter = await makeRunFolder(t);
  await writeFile(join(adapter, "adapter_config.json"), "{}");
  // As a checkpoint of another program has it.
  await writeFile(join(adapter, "trainer_state.json"), "{}");
  t.deepEqual(await resolveCheckpoint(adapter), { kind: "adapter", folder: adapter });
});

test("resolveCheckpoint takes a model folder, and refuses half a checkpoint and a folder of something else", async (t) => {
  const run = await makeRun(t);
  const folder = join(run, "checkpoint-9");
  for (const file of await readdir(folder)) {
    const path = join(folder, file);
    const bytes = await readFile(path);
    await rm(path);
    await t.throwsAsync(resolveCheckpoint(folder), {
      instanceOf: UserError,
      message: new RegExp(`Cannot read the checkpoint .*${basename(file)}: missing`),
    });
    await writeFile(path, bytes);
  }
  const other = await makeRunFolder(t);
  await t.throwsAsync(resolveCheckpoint(other), {
    message: /found an empty folder, expected a run/,
  });
  await writeFile(join(other, "config.json"), "{}");
  t.is((await resolveCheckpoint(other)).kind, "model");
  await t.throwsAsync(resolveCheckpoint(join(other, "gone")), { instanceOf: UserError });
});
