import { execFile } from "node:child_process";
import { cp, mkdir, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { promisify } from "node:util";
import test from "ava";
import { demoFolder } from "../../scripts/demo/paths.js";
import { readOutputJsonl } from "../../src/report/output-jsonl.js";
import { peftFixture } from "../support/adapter-base.js";
import { runFolderIn } from "../support/resumed-runs.js";
import { runHira } from "../support/run-hira.js";
import { makeTempFolder } from "../support/temp-folder.js";
import { tinyRunFlags, trainTiny, writeTinyRows } from "../support/tiny-runs.js";
import { hiraProgram } from "../support/start-hira.js";

const run = promisify(execFile);

/** Runs `hira` as a process in a folder; resolves to the run's folder. */
const runIn = async (folder: string, ...argv: readonly string[]): Promise<string> => {
  const tsx = import.meta.resolve("tsx");
  const { stdout } = await run(process.execPath, [`--import=${tsx}`, hiraProgram, ...argv], {
    cwd: folder,
  });
  return join(folder, runFolderIn(stdout));
};

const withoutTime = (path: string): string => basename(path).replace(/(?:-\d+){6}$/, "");

test("config.yaml does the run again from any folder, under the same name (9.38)", async (t) => {
  const folder = await makeTempFolder(t);
  const [here, there] = [join(folder, "here"), join(folder, "llama-3", "there")];
  await mkdir(here);
  await mkdir(there, { recursive: true });
  await cp(demoFolder, join(here, "small"), { recursive: true });
  // Another model of the same name must not be taken.
  await cp(peftFixture("base"), join(there, "small"), { recursive: true });
  const first = await runIn(
    here,
    ...["--peft_type=lora", "--model=small", "--data_dir=small", "--dataset=boolq", "--r_ab=2"],
    ...["--batch=16", "--max_steps=2", "--dataset_ratio=0.05", "--limit=2", "--seed=3"],
  );
  const second = await runIn(there, `--config=${join(first, "config.yaml")}`);
  t.is(withoutTime(second), withoutTime(first));
  const weights = (path: string): Promise<Buffer> =>
    readFile(join(path, "checkpoint-2", "adapter_model.safetensors"));
  t.deepEqual(await weights(second), await weights(first));
  const flagsOf = async (path: string): Promise<unknown> =>
    (await readOutputJsonl(join(path, "output.jsonl"))).flags;
  t.deepEqual(await flagsOf(second), await flagsOf(first));
  // The line counts before the file.
  const { code, err } = await runHira(
    ...[`--config=${join(first, "config.yaml")}`, "--model=nowhere", `--output_folder=${folder}`],
  );
  t.is(code, 2);
  t.regex(err, /nowhere/);
});

test("config.yaml of rows of token ids leads to them from any folder (9.38)", async (t) => {
  const folder = await makeTempFolder(t);
  const [here, there] = [join(folder, "here"), join(folder, "there")];
  await mkdir(here);
  await mkdir(there);
  await writeTinyRows(here);
  const first = await runIn(here, ...tinyRunFlags("rows.jsonl"), "--peft_type=hira");
  const second = await runIn(there, `--config=${join(first, "config.yaml")}`);
  t.is(withoutTime(second), withoutTime(first));
});

test("config.yaml of a run does the run again, to the byte", async (t) => {
  const folder = await makeTempFolder(t);
  const flags = [...tinyRunFlags(await writeTinyRows(folder)), "--peft_type=hilora", "--seed=5"];
  const first = await trainTiny(t, join(folder, "first"), ...flags);
  const config = `--config=${join(first, "config.yaml")}`;
  const second = await trainTiny(t, join(folder, "second"), config);
  const adapter = (run: string): Promise<Buffer> =>
    readFile(join(run, "checkpoint-4", "adapter_model.safetensors"));
  t.deepEqual(await adapter(second), await adapter(first));
  const other = await trainTiny(t, join(folder, "third"), config, "--seed=6");
  t.notDeepEqual(await adapter(other), await adapter(first));
});
