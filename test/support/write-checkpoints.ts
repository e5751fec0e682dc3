/** A program for checkpoint-kill.test.ts: saves and rotates checkpoints, and prints each step saved, until it is killed. */
import { writeCheckpoint } from "../../src/train/checkpoint.js";
import { rotateCheckpoints } from "../../src/train/checkpoint-folder.js";
import { smallCheckpoint } from "./checkpoints.js";

const runFolder = process.argv[2] ?? "";
for (let step = 1; ; step++) {
  // Every checkpoint is written twice, so that kills fall into replacements too.
  await writeCheckpoint(runFolder, smallCheckpoint(step, [1, 0.5]));
  await writeCheckpoint(runFolder, smallCheckpoint(step, [1, 0.5]));
  await rotateCheckpoints(runFolder, 2, 1);
  process.stdout.write(`${String(step)}\n`);
}
