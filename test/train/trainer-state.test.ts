import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import { UserError } from "../../src/core/errors.js";
import {
  checkpointStep,
  readBestCheckpoint,
  readTrainerState,
  trainerStateJson,
} from "../../src/train/trainer-state.js";
import { makeRunFolder, stateAt } from "../support/checkpoints.js";

test("checkpointStep reads the step of a folder's name alone", (t) => {
  t.is(checkpointStep("checkpoint-80"), 80);
  t.is(checkpointStep("/runs/a/checkpoint-7/"), 7);
  t.is(checkpointStep("C:\\runs\\checkpoint-12"), 12);
  for (const other of [
    "checkpoint-",
    "checkpoint-1a",
    ".checkpoint-1.begun",
    "my-checkpoint-1",
    "",
  ])
    t.is(checkpointStep(other), undefined, other);
});

test("readTrainerState gives back what was written", async (t) => {
  const path = join(await makeRunFolder(t), "trainer_state.json");
  for (const state of [stateAt(40), stateAt(40, [20, 1.5])]) {
    await writeFile(path, trainerStateJson(state));
    t.deepEqual(await readTrainerState(path), state);
  }
});

test("readBestCheckpoint takes the folder's name from any path, as other programs record it", async (t) => {
  const path = join(await makeRunFolder(t), "trainer_state.json");
  const best = async (json: object) => {
    await writeFile(path, JSON.stringify(json));
    return readBestCheckpoint(path);
  };
  const expected = { step: 80, metric: 0.5 };
  for (const recorded of [
    "results/run/checkpoint-80",
    "/gone/checkpoint-80",
    "D:\\r\\checkpoint-80",
  ])
    t.deepEqual(await best({ best_model_checkpoint: recorded, best_metric: 0.5 }), expected);
  t.is(await best({ best_model_checkpoint: null, best_metric: null }), undefined);
  t.is(await best({}), undefined);
  await t.throwsAsync(best({ best_model_checkpoint: "elsewhere", best_metric: "x" }), {
    instanceOf: UserError,
    message: /found 2 faults[^]*"elsewhere" in best_model_checkpoint[^]*"x" in best_metric/,
  });
});

test("readTrainerState lists every field that is missing", async (t) => {
  const path = join(await makeRunFolder(t), "trainer_state.json");
  await writeFile(path, '{"global_step": -1, "log_history": [{"loss": "x"}]}');
  const error = await t.throwsAsync(readTrainerState(path), { instanceOf: UserError });
  for (const field of [
    "global_step",
    "max_steps",
    "early_stopping_patience_counter",
    "log_history",
  ])
    t.regex(error?.message ?? "", new RegExp(field));
});
