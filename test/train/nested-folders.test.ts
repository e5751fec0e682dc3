import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import { UserError } from "../../src/core/errors.js";
import { resolveCheckpoint } from "../../src/train/checkpoint-folder.js";
import { makeTempFolder } from "../support/temp-folder.js";

const write = async (folder: string, files: Readonly<Record<string, string>>): Promise<void> => {
  await mkdir(folder, { recursive: true });
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
};

test("the output folder of a Trainer as --ckpt: its checkpoints are named, and the one to give (9.31)", async (t) => {
  const folder = await makeTempFolder(t);
  const state = JSON.stringify({ best_model_checkpoint: "elsewhere/out/checkpoint-500" });
  const adapter = { "adapter_config.json": "{}" };
  await write(join(folder, "checkpoint-1000"), { ...adapter, "trainer_state.json": state });
  await write(join(folder, "checkpoint-500"), adapter);
  const error = await t.throwsAsync(resolveCheckpoint(folder), { instanceOf: UserError });
  t.is(
    error.message,
    `Cannot load ${folder}: found the output folder of transformers' Trainer with checkpoint-500, checkpoint-1000, expected one of its checkpoints`,
  );
  t.is(
    error.hint,
    `Give one of them: --ckpt=${join(folder, "checkpoint-500")} (the best by trainer_state.json)`,
  );
  await write(join(folder, "checkpoint-1000"), { "trainer_state.json": "{" });
  t.regex(
    (await t.throwsAsync(resolveCheckpoint(folder), { instanceOf: UserError })).hint ?? "",
    /checkpoint-1000 \(the newest\)$/,
  );
  t.is((await resolveCheckpoint(join(folder, "checkpoint-500"))).kind, "adapter");
  await write(folder, adapter);
  t.is((await resolveCheckpoint(folder)).kind, "adapter");
});

test("a folder of runs as --ckpt: the runs are named (9.31)", async (t) => {
  const folder = await makeTempFolder(t);
  for (const name of ["run-a", "run-b"]) await write(join(folder, name), { "run.json": "{}" });
  await write(join(folder, "notes"), {});
  const error = await t.throwsAsync(resolveCheckpoint(folder), { instanceOf: UserError });
  t.is(
    error.message,
    `Cannot load ${folder}: found a folder of 2 runs, expected one run: run-a, run-b`,
  );
  t.regex(error.hint ?? "", /--ckpt=.*run-b$/);
});
