import { cp, mkdir, readdir, readFile, rename, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import { UserError } from "../../src/core/errors.js";
import {
  cleanRunFolder,
  openOptimizer,
  readCheckpoint,
  removeCheckpoint,
  writeCheckpoint,
} from "../../src/train/checkpoint.js";
import { makeRunFolder, smallCheckpoint, stateAt } from "../support/checkpoints.js";

const files = [
  "adapter_config.json",
  "adapter_model.safetensors",
  "complete.json",
  "optimizer.safetensors",
  "position.json",
  "trainer_state.json",
];

test("readCheckpoint gives back what writeCheckpoint was given", async (t) => {
  const run = await makeRunFolder(t);
  const written = smallCheckpoint(40, [20, 1.25]);
  const folder = await writeCheckpoint(run, written);
  t.is(folder, join(run, "checkpoint-40"));
  t.deepEqual((await readdir(folder)).sort(), files);
  t.deepEqual((await readdir(run)).sort(), ["best.json", "checkpoint-40"]);
  const read = await readCheckpoint(folder);
  t.deepEqual(read, {
    folder,
    step: 40,
    weights: "adapter",
    state: stateAt(40, [20, 1.25]),
    position: { seed: 36, step: 40, epoch: 1, batch: 0 },
  });
  const shapes = new Map([...written.moments].map(({ name, shape }) => [name, shape]));
  const optimizer = await openOptimizer(read, shapes);
  t.is(optimizer.step, 40);
  for (const { name, m, v } of written.moments) t.deepEqual(await optimizer.read(name), { m, v });
});

test("trainer_state.json has transformers' fields and names the best checkpoint without a path", async (t) => {
  const run = await makeRunFolder(t);
  const folder = await writeCheckpoint(run, smallCheckpoint(40, [20, 1.25]));
  const state = JSON.parse(await readFile(join(folder, "trainer_state.json"), "utf8")) as object;
  t.like(state, {
    best_metric: 1.25,
    best_model_checkpoint: "checkpoint-20",
    epoch: 1,
    global_step: 40,
    max_steps: 100,
    num_train_epochs: 2.5,
  });
  t.deepEqual(JSON.parse(await readFile(join(run, "best.json"), "utf8")), {
    checkpoint: "checkpoint-20",
    step: 20,
    eval_loss: 1.25,
  });
});

test("a model folder is a checkpoint too", async (t) => {
  const run = await makeRunFolder(t);
  const folder = await writeCheckpoint(
    run,
    smallCheckpoint(1, undefined, {
      writeWeights: async (into) => {
        await writeFile(join(into, "config.json"), "{}");
        await writeFile(join(into, "model-00001-of-00001.safetensors"), "x");
        await mkdir(join(into, "extra"));
        await writeFile(join(into, "extra", "tokenizer.json"), "{}");
      },
    }),
  );
  t.is((await readCheckpoint(folder)).weights, "model");
  await writeFile(join(folder, "extra", "tokenizer.json"), "[]");
  await t.throwsAsync(readCheckpoint(folder), {
    message: /extra\/tokenizer.json: found other content/,
  });
});

test("writeCheckpoint that fails leaves the run folder as it was", async (t) => {
  const run = await makeRunFolder(t);
  await writeCheckpoint(run, smallCheckpoint(20));
  const before = await readdir(run, { recursive: true });
  const failing = smallCheckpoint(40, [20, 1], {
    writeWeights: async (folder) => {
      await writeFile(join(folder, "adapter_config.json"), "{}");
      throw new Error("disk on fire");
    },
  });
  await t.throwsAsync(writeCheckpoint(run, failing), { message: "disk on fire" });
  const forgetful = smallCheckpoint(40, undefined, { writeWeights: async () => undefined });
  await t.throwsAsync(writeCheckpoint(run, forgetful), {
    instanceOf: TypeError,
    message: /has not made adapter_config.json, adapter_model.safetensors/,
  });
  t.deepEqual(await readdir(run, { recursive: true }), before);
  await t.notThrowsAsync(readCheckpoint(join(run, "checkpoint-20")));
});

test("writeCheckpoint replaces a checkpoint of the same step", async (t) => {
  const run = await makeRunFolder(t);
  await writeCheckpoint(run, smallCheckpoint(20));
  const folder = await writeCheckpoint(run, smallCheckpoint(20, [20, 0.5]));
  t.is((await readCheckpoint(folder)).state.evaluations.best?.metric, 0.5);
  t.deepEqual((await readdir(run)).sort(), ["best.json", "checkpoint-20"]);
});

test("writeCheckpoint names a run folder that cannot be written", async (t) => {
  const run = await makeRunFolder(t);
  await writeFile(join(run, "file"), "");
  await t.throwsAsync(writeCheckpoint(join(run, "file"), smallCheckpoint(1)), {
    instanceOf: UserError,
  });
});

test("readCheckpoint lists every file that is missing, cut off or changed", async (t) => {
  const run = await makeRunFolder(t);
  const folder = await writeCheckpoint(run, smallCheckpoint(20));
  const copy = join(run, "copy");
  const damaged = async (damage: () => Promise<void>): Promise<string> => {
    await rm(copy, { recursive: true, force: true });
    await cp(folder, copy, { recursive: true });
    await damage();
    const error = await t.throwsAsync(readCheckpoint(copy), { instanceOf: UserError });
    return error?.message ?? "";
  };
  for (const file of files) {
    const path = join(copy, file);
    const name = file.replaceAll(".", "\\.");
    t.regex(await damaged(() => rm(path)), new RegExp(`${name}: missing`));
    t.regex(await damaged(() => truncate(path, 3)), new RegExp(name));
    if (file !== "complete.json") {
      const flip = async () => {
        const bytes = await readFile(path);
        bytes[2] = (bytes[2] ?? 0) ^ 1;
        await writeFile(path, bytes);
      };
      t.regex(await damaged(flip), new RegExp(`${name}: found other content`));
    }
  }
  const message = await damaged(async () => {
    await rm(join(copy, "position.json"));
    await truncate(join(copy, "optimizer.safetensors"), 8);
  });
  t.regex(message, /found 2 faults[^]*optimizer.*found 8 bytes[^]*position.json: missing/);
});

test("readCheckpoint does not follow a marker out of its folder", async (t) => {
  const run = await makeRunFolder(t);
  const folder = await writeCheckpoint(run, smallCheckpoint(20));
  const marker = join(folder, "complete.json");
  const text = await readFile(marker, "utf8");
  await writeFile(marker, text.replace("position.json", "../position.json"));
  await t.throwsAsync(readCheckpoint(folder), { message: /for "\.\.\/position\.json"/ });
});

test("openOptimizer lists every parameter that does not fit", async (t) => {
  const run = await makeRunFolder(t);
  const checkpoint = await readCheckpoint(await writeCheckpoint(run, smallCheckpoint(20)));
  const expected = new Map([
    ["layers.0.A", [3, 2]],
    ["layers.1.A", [2, 3]],
  ]);
  const error = await t.throwsAsync(openOptimizer(checkpoint, expected), { instanceOf: UserError });
  t.regex(error?.message ?? "", /"m.layers.0.A": found float32 \[2,3\], expected float32 \[3,2\]/);
  t.regex(error?.message ?? "", /"v.layers.1.A": missing/);
  t.regex(error?.message ?? "", /"v.layers.0.B": found, expected no such parameter/);
});

test("cleanRunFolder brings every half-done state of a killed run to a whole one", async (t) => {
  const run = await makeRunFolder(t);
  const at = (name: string) => join(run, name);
  const whole = await writeCheckpoint(run, smallCheckpoint(20));

  // Killed while writing, and while deleting.
  await cp(whole, at(".checkpoint-40.begun"), { recursive: true });
  await cp(whole, at(".checkpoint-10.removed"), { recursive: true });
  await writeFile(at(".best.json.99999999.tmp"), "{");
  await cleanRunFolder(run);
  t.deepEqual(await readdir(run), ["checkpoint-20"]);

  // Killed between the two renames of a replacement: the old one comes back.
  await rename(whole, at(".checkpoint-20.replaced"));
  await cp(at(".checkpoint-20.replaced"), at(".checkpoint-20.begun"), { recursive: true });
  await cleanRunFolder(run);
  t.deepEqual(await readdir(run), ["checkpoint-20"]);
  await t.notThrowsAsync(readCheckpoint(whole));

  // Killed after them: the new one stays.
  await cp(whole, at(".checkpoint-20.replaced"), { recursive: true });
  await rm(join(at(".checkpoint-20.replaced"), "complete.json"));
  await cleanRunFolder(run);
  t.deepEqual(await readdir(run), ["checkpoint-20"]);
  await t.notThrowsAsync(readCheckpoint(whole));

  await removeCheckpoint(run, 20);
  t.deepEqual(await readdir(run), []);
  await t.throwsAsync(removeCheckpoint(run, 20), { instanceOf: UserError });
});
