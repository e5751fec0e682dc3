import { spawn } from "node:child_process";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { hiraProgram } from "./paths.js";
import type { TaskName } from "./tasks.js";

/** Prints a command line as a person would type it, and runs it with this Node; its output goes to `stdout`. */
const start = (
  args: readonly string[],
  stdout: "inherit" | "pipe",
): Promise<{ readonly output: string }> => {
  process.stdout.write(`\n$ hira ${args.join(" ")}\n`);
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [hiraProgram, ...args], {
      stdio: ["ignore", stdout, "inherit"],
    });
    let output = "";
    child.stdout?.setEncoding("utf8").on("data", (text: string) => (output += text));
    child.on("error", reject);
    child.on("close", (code, signal) => {
      if (code === 0) resolve({ output });
      else reject(new Error(`hira ended with ${signal ?? `exit code ${String(code)}`}`));
    });
  });
};

/** Runs one `hira` command to its end. @throws {Error} if it fails */
export const hira = async (...args: readonly string[]): Promise<void> => {
  await start(args, "inherit");
};

/** The one run folder in `outputFolder`. */
export const onlyRunIn = async (outputFolder: string): Promise<string> => {
  const [run, ...others] = await readdir(outputFolder);
  if (run === undefined || others.length > 0)
    throw new Error(`found ${String(others.length + (run ? 1 : 0))} runs in ${outputFolder}`);
  return join(outputFolder, run);
};

/** What `hira score` says of one set; shares in percent. */
export interface Score {
  readonly rows: number;
  readonly accuracy: number;
  readonly interval: { readonly low: number; readonly high: number };
  readonly noAnswer: number;
}

/** The accuracies of the answers in a folder, by set. */
export const scoresOf = async (
  folder: string,
): Promise<Readonly<Partial<Record<TaskName, Score>>>> => {
  const { output } = await start(["score", folder, "--json"], "pipe");
  const [run] = JSON.parse(output) as { readonly sets: Partial<Record<TaskName, Score>> }[];
  if (!run) throw new Error(`found no answers in ${folder}`);
  return run.sets;
};
