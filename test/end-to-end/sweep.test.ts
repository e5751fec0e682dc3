import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import test, { type ExecutionContext } from "ava";
import { demoFolder } from "../../scripts/demo/paths.js";
import { readOutputJsonl } from "../../src/report/output-jsonl.js";
import { readSweepState, type SweepState } from "../../src/report/sweep-state.js";
import { peftFixture } from "../support/adapter-base.js";
import { makeTempFolder } from "../support/temp-folder.js";
import { writeTinyRows } from "../support/tiny-runs.js";
import { hiraProgram } from "../support/start-hira.js";

/** Starts `hira sweep` of a file in a folder, as a process of its own. */
const start = (t: ExecutionContext, folder: string): ChildProcess => {
  const args = ["sweep", join(folder, "study.yaml"), `--out=${join(folder, "out")}`];
  const child = spawn(process.execPath, ["--import=tsx", hiraProgram, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  t.teardown(() => child.kill("SIGKILL"));
  return child;
};

const finish = async (
  child: ChildProcess,
): Promise<{ readonly code: number | null; readonly text: string }> => {
  let text = "";
  child.stdout?.on("data", (chunk: Buffer) => (text += chunk.toString()));
  child.stderr?.on("data", (chunk: Buffer) => (text += chunk.toString()));
  const [code] = (await once(child, "close")) as [number | null];
  return { code, text };
};

/** Waits until the sweep's state is so. */
const until = async (
  folder: string,
  holds: (state: SweepState) => boolean | Promise<boolean>,
): Promise<SweepState> => {
  for (;;) {
    const state = await readSweepState(join(folder, "out", "sweep.json"));
    if (await holds(state)) return state;
    await wait(20);
  }
};

const writeStudy = async (
  folder: string,
  lines: readonly string[],
  steps: number,
): Promise<void> => {
  const rows = await writeTinyRows(folder);
  const base = [
    `model_name: ${peftFixture("base")}`,
    `dataset: ${rows}`,
    `validation: ${rows}`,
    "eval_strategy: steps",
    "eval_steps: 2",
    `max_steps: ${String(steps)}`,
    "batch: 2",
    "r_ab: 2",
    "lr: 1e-2",
  ];
  const text = ["base:", ...base.map((line) => `  ${line}`), ...lines].join("\n");
  await writeFile(join(folder, "study.yaml"), `${text}\n`);
};

test("hira sweep goes on after a failed run, skips what is done, and ends with the table", async (t) => {
  const folder = await makeTempFolder(t);
  // A rank that fits no layer is found only when the run begins.
  await writeStudy(
    folder,
    ["matrix: {peft_type: [lora, hira]}", "include: [{peft_type: lora, r_ab: 7}]"],
    2,
  );
  const first = await finish(start(t, folder));
  t.is(first.code, 1, first.text);
  t.regex(first.text, /\[1\/2\] peft_type=lora,r_ab=7: failed with exit code 2\n/);
  t.regex(first.text, /\n1 {2}peft_type=hira {5}2 +\d+ /);
  t.regex(first.text, /failed: peft_type=lora,r_ab=7\n/);
  const out = join(folder, "out");
  t.regex(await readFile(join(out, "compare.md"), "utf8"), /\| 1 \| peft_type=hira \| 2 \|/);
  const before = await readSweepState(join(out, "sweep.json"));
  t.is(before.get("peft_type=lora,r_ab=7")?.status, "failed");
  const hira = join(out, before.get("peft_type=hira")?.runFolder ?? "");
  const written = (await stat(join(hira, "output.jsonl"))).mtimeMs;

  // As if the sweep had been killed, and its last run had come to its end alone.
  const path = join(out, "sweep.json");
  const json = await readFile(path, "utf8");
  await writeFile(
    path,
    json.replace('"done"', '"running"').replace(/"run_folder": "[^"]*hira/, '"was": "'),
  );
  t.is((await readSweepState(path)).get("peft_type=hira")?.status, "running");
  await writeStudy(folder, ["matrix: {peft_type: [lora, hira]}"], 2);
  const second = await finish(start(t, folder));
  t.is(second.code, 0, second.text);
  t.regex(second.text, /\[2\/2\] peft_type=hira: done before\n/);
  t.regex(second.text, /\n1 {2}peft_type=lora +2 .*\n2 {2}peft_type=hira +2 /);
  t.is((await stat(join(hira, "output.jsonl"))).mtimeMs, written);

  // Other settings make another run, and the earlier one stays.
  await writeStudy(folder, ["matrix: {peft_type: [hira]}"], 3);
  t.is((await finish(start(t, folder))).code, 0);
  t.is((await readdir(join(out, "peft_type=hira"))).length, 2);
  t.not((await readSweepState(join(out, "sweep.json"))).get("peft_type=hira")?.runFolder, hira);
});

test("hira sweep that was killed goes on with the run that it was at", async (t) => {
  const folder = await makeTempFolder(t);
  await writeStudy(folder, ["matrix: {seed: [1, 2]}", "include: [{peft_type: lora}]"], 120);
  const child = start(t, folder);
  child.stdout?.resume();
  child.stderr?.resume();
  const [one, two] = ["seed=1,peft_type=lora", "seed=2,peft_type=lora"];
  const out = join(folder, "out");
  const checkpoints = async (): Promise<boolean> => {
    const names = await readdir(join(out, two), { recursive: true }).catch((): string[] => []);
    return names.some((name) => /\/checkpoint-\d+\/complete\.json$/.test(name));
  };
  const state = await until(
    folder,
    async (now) => now.get(two)?.pid !== undefined && (await checkpoints()),
  );
  t.is(state.get(one)?.status, "done");
  const pid = state.get(two)?.pid ?? NaN;
  // The run itself outlives the sweep: until it has ended, the folder is taken.
  process.kill(pid, "SIGSTOP");
  child.kill("SIGKILL");
  await once(child, "exit");
  const taken = await finish(start(t, folder));
  t.is(taken.code, 2);
  t.regex(
    taken.text,
    new RegExp(`found its run ${two} still at work \\(process ${String(pid)}\\)`),
  );
  process.kill(pid, "SIGKILL");

  const again = await finish(start(t, folder));
  t.is(again.code, 0, again.text);
  t.regex(again.text, /\[1\/2\] seed=1,peft_type=lora: done before\n/);
  t.regex(again.text, /\[2\/2\] .* --resume_from_checkpoint=\S+\n/);
  // Runs that differ in seed alone are one row.
  t.regex(again.text, /\n1 {2}peft_type=lora +2 +2 +\d+ .* ± [^\n]*\n\n/);
  t.is((await readdir(join(out, two))).length, 1);
  const after = await readSweepState(join(out, "sweep.json"));
  t.deepEqual(
    [...after.values()].map(({ status }) => status),
    ["done", "done"],
  );
});

test("hira sweep answers test rows with every run, once", async (t) => {
  const folder = await makeTempFolder(t);
  const study = (limit: number): Promise<void> =>
    writeFile(
      join(folder, "study.yaml"),
      [
        `base: {model_name: &model ${demoFolder}, data_dir: *model, dataset: common_170k, limit: 1}`,
        "matrix: {peft_type: [lora], max_steps: [1]}",
        `evaluate: {dataset: boolq, data_dir: *model, batch: 8, limit: ${String(limit)}}`,
      ].join("\n"),
    );
  await study(3);
  const first = await finish(start(t, folder));
  t.is(first.code, 0, first.text);
  t.regex(first.text, /\n1 {2}peft_type=lora,max_steps=1 +16 .* \d+\.\d\d\*\n/);
  const [run] = (await readSweepState(join(folder, "out", "sweep.json"))).values();
  const answers = join(folder, "out", run?.runFolder ?? "", "output_-1_boolq_eval.jsonl");
  t.is((await readOutputJsonl(answers)).rows.length, 3);
  t.is(run?.evaluation?.status, "done");
  const second = await finish(start(t, folder));
  t.is(second.code, 0, second.text);
  t.regex(second.text, /\[1\/1\] peft_type=lora,max_steps=1: done before\n/);
  await study(2);
  const other = await finish(start(t, folder));
  t.is(other.code, 2);
  t.regex(
    other.text,
    /found answers of peft_type=lora,max_steps=1 with other flags, expected those/,
  );
});

for (const [signal, exitCode] of [
  ["SIGINT", 130],
  ["SIGUSR2", 140],
] as const)
  test(`${signal} stops a sweep after its run has saved, and only that run goes on later (9.15)`, async (t) => {
    const folder = await makeTempFolder(t);
    await writeStudy(folder, ["matrix: {peft_type: [lora, dora]}"], 400);
    const child = start(t, folder);
    const ended = finish(child);
    const out = join(folder, "out");
    await until(folder, async () => {
      const names = await readdir(join(out, "peft_type=lora"), { recursive: true }).catch(
        (): string[] => [],
      );
      return names.some((name) => /\/checkpoint-\d+\/complete\.json$/.test(name));
    });
    child.kill(signal);
    const { code, text } = await ended;
    t.is(code, exitCode, text);
    t.regex(text, new RegExp(`${signal}: letting the run that is at work save and stop`));
    t.regex(text, new RegExp(`${signal}: finishing this step and saving`));
    const state = await readSweepState(join(out, "sweep.json"));
    t.is(state.get("peft_type=lora")?.status, "stopped");
    t.false(state.has("peft_type=dora"));
    const run = join(out, state.get("peft_type=lora")?.runFolder ?? "");
    t.true((await readdir(run)).some((name) => name.startsWith("checkpoint-")));
  });
