/** From the shell to a program's first step. */
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { messageOf, UserError } from "../../src/core/errors.js";
import type { AllContext } from "./all-cases.js";
import { watchOthers } from "./busy.js";
import type { PeerPrecision } from "./contenders.js";
import { takeTurns, type Sample } from "./turns.js";

const hira = fileURLToPath(new URL("../../bin/hira.js", import.meta.url));
const peer = fileURLToPath(new URL("../reference/start_peer.py", import.meta.url));

/** Processor time of a process with its threads, by Linux. A tick is 10 ms. */
const cpuMsOf = (pid: number | undefined): number => {
  try {
    const text = readFileSync(`/proc/${String(pid)}/stat`, "utf8");
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    return 10 * (Number(fields[11]) + Number(fields[12]));
  } catch {
    return 0;
  }
};

/** Starts a program and stops it when it has said that its first step is done. @throws {UserError} if it ends without */
const timeToFirstStep = async (
  command: string,
  argv: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): Promise<Sample> => {
  const othersSince = watchOthers();
  const begun = performance.now();
  const child = spawn(command, [...argv], { stdio: ["ignore", "pipe", "pipe"], env });
  let said = "";
  child.stderr.on("data", (chunk: Buffer) => (said = (said + chunk.toString()).slice(-1500)));
  try {
    for await (const line of createInterface({ input: child.stdout })) {
      if (!line.startsWith("step 1/")) continue;
      const milliseconds = performance.now() - begun;
      return { milliseconds, othersCores: othersSince(cpuMsOf(child.pid)) };
    }
  } finally {
    child.kill("SIGKILL");
  }
  throw new UserError(`Cannot time ${command}: it ended before its first step: ${said.trim()}`);
};

/** `hira` and a script with torch and peft, on the rows of ARC-Easy; what hira keeps in its cache of tokens is there, as after a first run. */
export const startCases = async (context: AllContext): Promise<void> => {
  const { settings, report, folder } = context;
  if (!existsSync(fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url)))) {
    await report.missing("hira, from the shell", 'not compiled: run "npm run build" first');
    return;
  }
  const flags = [
    ...["--peft_type=hira", `--model=${settings.model}`, `--data_dir=${settings.dataDir}`],
    ...["--dataset=arce", "--batch=4", "--lr=1e-3", "--seed=36", "--eval_strategy=no"],
    ...[`--r_ab=${String(settings.rank)}`, `--target_modules=${settings.targetModules}`],
    "--max_steps=1",
  ];
  const env = { ...process.env, HIRA_CACHE_DIR: join(folder, "cache") };
  const ours = async (): Promise<Sample> => {
    const out = await mkdtemp(join(folder, "start-"));
    try {
      return await timeToFirstStep(
        process.execPath,
        [hira, ...flags, `--output_folder=${out}`],
        env,
      );
    } finally {
      await rm(out, { recursive: true, force: true });
    }
  };
  const rows = join(settings.dataDir, "llm_adapt/ARC-Easy/train.json");
  const theirs = (precision: PeerPrecision): Promise<Sample> =>
    timeToFirstStep(settings.python, [
      ...[peer, settings.model, rows, precision, String(settings.threads)],
    ]);
  try {
    await ours();
    let best: { precision: PeerPrecision; milliseconds: number } | undefined;
    for (const precision of ["fp32", "autocast", "bf16"] as const) {
      // The first of all reads the packages from the disk.
      if (!best) await theirs(precision);
      const { milliseconds } = await theirs(precision);
      if (milliseconds < (best?.milliseconds ?? Infinity)) best = { precision, milliseconds };
    }
    const { precision } = best ?? { precision: "fp32" as const };
    const result = await takeTurns(ours, () => theirs(precision), {
      rounds: settings.rounds,
      repeats: settings.quick ? 1 : settings.rounds,
    });
    await report.times(
      "command to first step against torch and peft",
      ["hira, cpu fp32", `torch + peft, ${precision}`],
      result,
    );
  } catch (error) {
    await report.missing("command to first step", messageOf(error));
  }
};
