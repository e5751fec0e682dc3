import { spawnSync } from "node:child_process";
import test, { type ExecutionContext } from "ava";
import { runFolderIn } from "./resumed-runs.js";
import { runHira } from "./run-hira.js";
import { hiraProgram, startHira, type HiraProcess } from "./start-hira.js";

const version = spawnSync("mpirun", ["--version"], { encoding: "utf8" });

const isRoot = process.getuid?.() === 0;

/** Whether some MPI's mpirun is there. */
export const hasMpi = !version.error;
/** Whether it is Open MPI's. */
export const isOpenMpi = hasMpi && /Open MPI/.test(version.stdout);

/** A test that needs an MPI launcher; where there is none it is skipped, and says so. */
export const withMpi = hasMpi ? test.serial : test.serial.skip;
if (!hasMpi)
  process.stderr.write("Skipped: tests of several processes need mpirun (openmpi-bin or mpich)\n");

/** Starts `hira launch` with so many processes on this machine. */
export const launch = (
  t: ExecutionContext,
  processes: number,
  argv: readonly string[],
): HiraProcess =>
  startHira(t, ["launch", `--num_gpus=${String(processes)}`, "train_hira.py", ...argv]);

/** Starts processes that each have a line of their own, as on hosts that differ. */
export const eachLaunched = (
  t: ExecutionContext,
  lines: readonly (readonly string[])[],
): HiraProcess =>
  startHira(t, lines[0] ?? [], undefined, {
    within: ["mpirun", ...(isRoot && isOpenMpi ? ["--allow-run-as-root"] : []), "-n", "1"],
    behind: lines
      .slice(1)
      .flatMap((line) => [":", "-n", "1", process.execPath, "--import=tsx", hiraProgram, ...line]),
  });

/** Runs a line to its end, one process in the test's own; resolves to what it printed. */
export const succeedIn = async (
  t: ExecutionContext,
  processes: number,
  argv: readonly string[],
): Promise<string> => {
  const { code, out, err } =
    processes === 1 ? await runHira(...argv) : await launch(t, processes, argv).ended;
  t.is(code, 0, err);
  return out;
};

/** The same for a line that trains; resolves to the run's folder. */
export const trainIn = async (
  t: ExecutionContext,
  processes: number,
  argv: readonly string[],
): Promise<string> => runFolderIn(await succeedIn(t, processes, argv));
