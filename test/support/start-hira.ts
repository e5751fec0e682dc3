import { spawn, type ChildProcessByStdio } from "node:child_process";
import { once } from "node:events";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import type { ExecutionContext } from "ava";

/** The program of hira-process.ts: `node --import=tsx <this> <command line>`. */
export const hiraProgram = fileURLToPath(new URL("hira-process.ts", import.meta.url));

/** hira as a process of its own. */
export interface HiraProcess {
  readonly child: ChildProcessByStdio<null, Readable, Readable>;
  /** What it has printed so far. */
  readonly printed: { readonly out: string; readonly err: string };
  readonly ended: Promise<{
    readonly code: number | null;
    readonly out: string;
    readonly err: string;
  }>;
}

/**
 * Starts one command line as a process, which ends with the test at the latest.
 *
 * @param onOutput is called after each piece of standard output
 * @param options.uid whom it runs as
 * @param options.within words before the command line, such as `ip netns exec NAME`
 * @param options.behind words behind it
 * @param options.environment variables beside those of the tests
 */
export const startHira = (
  t: ExecutionContext,
  argv: readonly string[],
  onOutput: (process: HiraProcess) => void = () => undefined,
  {
    environment = {},
    within = [],
    behind = [],
    ...options
  }: {
    readonly uid?: number;
    readonly within?: readonly string[];
    readonly behind?: readonly string[];
    readonly environment?: Readonly<Record<string, string>>;
  } = {},
): HiraProcess => {
  const [program = "", ...words] = [...within, process.execPath, "--import=tsx", hiraProgram];
  const child = spawn(program, [...words, ...argv, ...behind], {
    ...options,
    env: { ...process.env, ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  t.teardown(() => child.kill("SIGKILL"));
  const printed = { out: "", err: "" };
  const started: HiraProcess = {
    child,
    printed,
    ended: once(child, "close").then(([code]) => ({ code: code as number | null, ...printed })),
  };
  child.stderr.setEncoding("utf8").on("data", (text: string) => (printed.err += text));
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    printed.out += text;
    onOutput(started);
  });
  return started;
};
