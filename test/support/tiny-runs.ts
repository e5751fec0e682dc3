import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ExecutionContext } from "ava";
import { peftFixture } from "./adapter-base.js";
import { runHira } from "./run-hira.js";

/** Writes rows of token ids for the tiny base model, some of them to train on; returns the file. */
export const writeTinyRows = async (folder: string, name = "rows.jsonl"): Promise<string> => {
  const path = join(folder, name);
  const rows = Array.from({ length: 6 }, (_, row) => {
    const ids = Array.from({ length: 5 + row }, (_, i) => (7 * row + 3 * i + 1) % 16);
    return JSON.stringify({ input_ids: ids, labels: ids });
  });
  await writeFile(path, `${rows.join("\n")}\n`);
  return path;
};

/** The flags of a run of a few steps on the tiny base model. */
export const tinyRunFlags = (rows: string): readonly string[] => [
  `--model=${peftFixture("base")}`,
  ...[`--dataset=${rows}`, `--validation=${rows}`, "--eval_strategy=steps", "--eval_steps=2"],
  ...["--batch=2", "--r_ab=2", "--max_steps=4", "--lr=1e-2", "--warmup=0"],
];

/** Trains in this process and returns the run's folder. */
export const trainTiny = async (
  t: ExecutionContext,
  outputFolder: string,
  ...flags: readonly string[]
): Promise<string> => {
  const { code, err } = await runHira(...flags, `--output_folder=${outputFolder}`);
  t.is(code, 0, err);
  const [run = ""] = await readdir(outputFolder);
  return join(outputFolder, run);
};
