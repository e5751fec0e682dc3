import { cp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import type { ExecutionContext } from "ava";
import { randomStream } from "../../src/core/random.js";
import { peftFixture } from "./adapter-base.js";
import { readFields, readRecords, type Field } from "./event-file.js";
import { makeTempFolder } from "./temp-folder.js";

/** A folder with rows for training and validation of the tiny base model, and the flags of a run over them. */
export const prepareRuns = async (
  t: ExecutionContext,
): Promise<{ readonly folder: string; readonly flags: readonly string[] }> => {
  const folder = await makeTempFolder(t);
  const writeRows = (name: string, count: number) => {
    const stream = randomStream(1, name);
    const rows = Array.from({ length: count }, () => {
      const ids = Array.from({ length: 4 + stream.integer(8) }, () => 2 + stream.integer(14));
      return JSON.stringify({ input_ids: ids, labels: ids });
    });
    return writeFile(join(folder, `${name}.jsonl`), rows.join("\n"));
  };
  await writeRows("rows", 22);
  await writeRows("validation", 6);
  return {
    folder,
    flags: [
      ...[`--model=${peftFixture("base")}`, `--dataset=${join(folder, "rows.jsonl")}`],
      ...[`--validation=${join(folder, "validation.jsonl")}`, "--batch=4", "--lr=1e-2"],
      ...["--warmup=2", "--seed=3", `--output_folder=${join(folder, "runs")}`],
    ],
  };
};

/** The folder of a run, from what it printed. */
export const runFolderIn = (output: string): string => /Run folder: (.*)/.exec(output)?.[1] ?? "";

/** What a process that was killed after it had saved checkpoint-`step` leaves: a copy, with the later steps' rows. */
export const copyAsKilled = async (
  runFolder: string,
  copy: string,
  step: number,
): Promise<string> => {
  await cp(runFolder, copy, { recursive: true });
  await rm(join(copy, "output.jsonl"));
  for (const name of await readdir(copy)) {
    const saved = Number(/^checkpoint-(\d+)$/.exec(name)?.[1] ?? 0);
    if (saved > step) await rm(join(copy, name), { recursive: true });
  }
  return copy;
};

const jsonOf = async (path: string): Promise<Record<string, unknown>> =>
  JSON.parse(await readFile(path, "utf8")) as Record<string, unknown>;

const linesOf = async (path: string): Promise<string[]> =>
  (await readFile(path, "utf8")).trimEnd().split("\n");

/** Step and summary of every event, but for those about time. */
const eventsOf = async (runFolder: string): Promise<unknown[]> => {
  const runs = join(runFolder, "runs");
  const files = (await readdir(runs, { recursive: true })).filter((name) =>
    basename(name).startsWith("events."),
  );
  const events: unknown[] = [];
  for (const name of files.sort())
    for (const record of readRecords(await readFile(join(runs, name)))) {
      const fields = readFields(record);
      const of = (number: number): Field["value"] | undefined =>
        fields.find((field) => field.number === number)?.value;
      const summary = of(5);
      if (!Buffer.isBuffer(summary)) continue;
      const values = readFields(summary).map(({ value }) => readFields(value as Buffer));
      for (const value of values) {
        const tag = String(value[0]?.value);
        if (!/runtime|per_second/.test(tag))
          events.push([of(2) ?? 0, tag, String(value.at(-1)?.value)]);
      }
    }
  return events;
};

/** Everything in a run folder that another run of the same flags must have too, byte for byte: all but times and memory. */
export const resultsOf = async (runFolder: string): Promise<Readonly<Record<string, unknown>>> => {
  const results: Record<string, unknown> = {};
  const checkpoints = (await readdir(runFolder)).filter((name) => name.startsWith("checkpoint-"));
  for (const checkpoint of checkpoints.sort()) {
    for (const file of (await readdir(join(runFolder, checkpoint))).sort()) {
      const path = join(runFolder, checkpoint, file);
      // The marker has the hash of trainer_state.json, which has a time in it.
      if (file === "complete.json") continue;
      results[`${checkpoint}/${file}`] =
        file === "trainer_state.json"
          ? { ...(await jsonOf(path)), train_seconds: 0 }
          : (await readFile(path)).toString("base64");
    }
  }
  const metrics = await linesOf(join(runFolder, "metrics.jsonl"));
  results.metrics = metrics.map((line) => ({
    ...(JSON.parse(line) as object),
    step_ms: 0,
    peak_memory_bytes: 0,
  }));
  results.events = await eventsOf(runFolder);
  // Line 3 has the time and the memory.
  results.output = (await linesOf(join(runFolder, "output.jsonl"))).filter((_, i) => i !== 2);
  results.files = (await readdir(runFolder)).sort();
  if ((await readdir(runFolder)).includes("best.json"))
    results.best = await jsonOf(join(runFolder, "best.json"));
  return results;
};
