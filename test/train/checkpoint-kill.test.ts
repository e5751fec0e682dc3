import { spawn } from "node:child_process";
import { readdir } from "node:fs/promises";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import test from "ava";
import { cleanRunFolder, readCheckpoint } from "../../src/train/checkpoint.js";
import { listCheckpoints, pickCheckpoint } from "../../src/train/checkpoint-folder.js";
import { makeRunFolder } from "../support/checkpoints.js";

const program = fileURLToPath(new URL("../support/write-checkpoints.ts", import.meta.url));

/** Runs the program in `runFolder`, and kills it `delayMs` after it has printed `steps` steps. @returns the last step printed */
const runAndKill = async (runFolder: string, steps: number, delayMs: number): Promise<number> => {
  const child = spawn(process.execPath, ["--import=tsx", program, runFolder], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exit = once(child, "exit");
  let output = "";
  child.stdout.setEncoding("utf8");
  for await (const text of child.stdout) {
    output += String(text);
    if (output.split("\n").length > steps) break;
  }
  await new Promise((resolve) => setTimeout(resolve, delayMs));
  child.kill("SIGKILL");
  await exit;
  return Number(output.trimEnd().split("\n").at(-1));
};

for (const [steps, delayMs] of [
  [1, 0],
  [2, 7],
  [3, 13],
  [3, 29],
] as const) {
  test.serial(
    `a kill ${String(delayMs)} ms after step ${String(steps)} loses no checkpoint that was saved`,
    async (t) => {
      const run = await makeRunFolder(t);
      const printed = await runAndKill(run, steps, delayMs);
      await cleanRunFolder(run);
      const { checkpoints, skipped } = await listCheckpoints(run);
      t.deepEqual(skipped, []);
      for (const { folder } of checkpoints) await readCheckpoint(folder);
      const saved = checkpoints.map(({ step }) => step);
      t.true(
        (saved.at(-1) ?? 0) >= printed,
        `saved ${saved.join(", ")}, printed ${String(printed)}`,
      );
      t.true(saved.length <= 3);
      t.is((await pickCheckpoint(run, -1)).best.step, 1);
      t.deepEqual(
        (await readdir(run)).filter((name) => name.startsWith(".")),
        [],
      );
    },
  );
}
