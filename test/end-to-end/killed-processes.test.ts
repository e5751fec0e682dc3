import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { randomStream } from "../../src/core/random.js";
import { launch, trainIn, withMpi } from "../support/launch.js";
import { prepareRuns, runFolderIn } from "../support/resumed-runs.js";
import { startHira } from "../support/start-hira.js";

/** How often a run is killed: HIRA_KILLS asks for more than the suite has time for. */
const kills = Number(process.env.HIRA_KILLS ?? 2);
const updates = 150 * (kills + 1);
const between = 10;

interface Row {
  readonly step: number;
  readonly loss: number;
  readonly tokens?: number;
}

const rowsOf = async (runFolder: string): Promise<readonly Row[]> =>
  (await readFile(join(runFolder, "metrics.jsonl"), "utf8"))
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Row)
    .filter(({ loss }) => typeof loss === "number");

/** The processes whose command lines name a folder: the launcher, MPI's, and the ranks. */
const processesOf = (folder: string): readonly number[] =>
  spawnSync("pgrep", ["-f", folder], { encoding: "utf8" })
    .stdout.split("\n")
    .filter((line) => line !== "")
    .map(Number);

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** The newest checkpoint's step; 0 where there is none. */
const newestStep = (runFolder: string): number =>
  runFolder === "" || !existsSync(runFolder)
    ? 0
    : Math.max(
        0,
        ...readdirSync(runFolder).map((name) => Number(/^checkpoint-(\d+)$/.exec(name)?.[1] ?? 0)),
      );

/** Waits until something holds. @returns whether it did in time */
const until = async (holds: () => boolean, ms: number): Promise<boolean> => {
  for (const begun = performance.now(); performance.now() - begun < ms; await pause(10))
    if (holds()) return true;
  return holds();
};

withMpi(
  "a run whose processes are killed at random goes on to the losses of one that was not",
  async (t) => {
    t.timeout(30_000 * (kills + 2));
    const { flags, folder } = await prepareRuns(t);
    const argv = [
      ...["--peft_type=hira", ...flags, "--lr=1e-3", "--r_ab=2", `--max_steps=${String(updates)}`],
      ...["--eval_strategy=steps", `--eval_steps=${String(between)}`, "--log_steps=100000"],
    ];
    const expected = await rowsOf(await trainIn(t, 1, [...argv, "--grad_acc=2"]));
    const stream = randomStream(7, "kills");
    const killed: string[] = [];
    let [runFolder, reached] = ["", 0];
    for (let round = 0; ; round++) {
      const processes = round % 4 === 3 ? 1 : 2;
      const line = [
        ...[...argv, `--grad_acc=${String(2 / processes)}`],
        ...(runFolder === "" ? [] : [`--resume_from_checkpoint=${runFolder}`]),
      ];
      const run = processes === 1 ? startHira(t, line) : launch(t, processes, line);
      if (round === kills) {
        const { code, err } = await run.ended;
        t.is(code, 0, err);
        break;
      }
      // Somewhere behind one of the next checkpoints, wherever the updates are then.
      const target = reached + between * (1 + stream.integer(4));
      const isThere = await until(() => {
        runFolder = runFolderIn(run.printed.out) || runFolder;
        return newestStep(runFolder) >= target || run.child.exitCode !== null;
      }, 30_000);
      t.true(isThere, run.printed.err);
      if (run.child.exitCode === 0) break;
      await pause(stream.integer(40));
      const alive = processesOf(folder);
      const victim = alive[stream.integer(Math.max(1, alive.length))];
      if (victim !== undefined) process.kill(victim, "SIGKILL");
      t.true(
        await until(() => processesOf(folder).length === 0, 10_000),
        `left: ${String(processesOf(folder))}`,
      );
      await run.ended;
      reached = newestStep(runFolder);
      killed.push(`behind step ${String(reached)}`);
    }
    t.log(`killed: ${killed.join(", ")}`);
    t.true(killed.length > kills / 2);
    const found = await rowsOf(runFolder);
    t.deepEqual(
      found.map(({ step, tokens }) => [step, tokens]),
      expected.map(({ step, tokens }) => [step, tokens]),
    );
    const differences = found.map(({ loss }, i) => Math.abs(loss / (expected[i]?.loss ?? NaN) - 1));
    t.true(Math.max(...differences) < 2e-5, String(Math.max(...differences)));
  },
);
