import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { prepareRuns, runFolderIn } from "../support/resumed-runs.js";
import { startHira } from "../support/start-hira.js";

/** Starts `hira`, and sends a signal when `ready` is in what it printed. */
const signalWhen = (
  t: ExecutionContext,
  argv: readonly string[],
  ready: RegExp,
  signal: NodeJS.Signals,
) => {
  let sent = false;
  return startHira(t, argv, ({ child, printed }) => {
    if (!sent && ready.test(printed.out)) sent = child.kill(signal);
  }).ended;
};

const long = ["--peft_type=hira", "--r_ab=2", "--max_steps=100000", "--log_steps=1"];

for (const [signal, code] of [
  ["SIGHUP", 129],
  ["SIGUSR1", 138],
  ["SIGUSR2", 140],
] as const)
  test.serial(`${signal} lets training save, with exit code ${String(code)} (9.15)`, async (t) => {
    const { flags } = await prepareRuns(t);
    const stopped = await signalWhen(t, [...flags, ...long, "--num_workers=2"], /step 3\//, signal);
    t.is(stopped.code, code, stopped.err);
    t.notRegex(stopped.err, /[Dd]ebugger/);
    t.regex(stopped.err, new RegExp(`warning: ${signal}: finishing this step and saving`));
    t.regex(stopped.out, /to go on: hira train --config=\S+ --resume_from_checkpoint=\S+/);
    const names = await readdir(runFolderIn(stopped.out));
    const checkpoint = names.find((name) => name.startsWith("checkpoint-")) ?? "none";
    t.true((await readdir(join(runFolderIn(stopped.out), checkpoint))).includes("complete.json"));
  });

test("SIGUSR1 ends a command that keeps nothing, and opens no debugger (9.15)", async (t) => {
  const code = `
    import { main } from ${JSON.stringify(new URL("../../src/cli/main.ts", import.meta.url).href)};
    const wait = { name: "wait", summary: "", flags: {}, examples: [],
      run: () => new Promise((done) => { console.log("waiting"); setTimeout(done, 60_000); }) };
    process.exitCode = await main(["wait"], { commands: [wait] });`;
  const argv = ["--import=tsx", "--input-type=module", "-e", code];
  const child = spawn(process.execPath, argv);
  let err = "";
  child.stderr.on("data", (text: Buffer) => (err += text.toString()));
  child.stdout.once("data", () => child.kill("SIGUSR1"));
  t.deepEqual(await once(child, "close"), [138, null]);
  t.is(err, "");
});
