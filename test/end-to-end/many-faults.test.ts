import { cp, readFile, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { linesOfFaults, userErrorOfFaults } from "../../src/core/errors.js";
import {
  readSafetensorsHeader,
  readTensorAsFloat32,
  writeSafetensors,
} from "../../src/models/weights/safetensors.js";
import { peftFixture } from "../support/adapter-base.js";
import { runHira } from "../support/run-hira.js";
import { makeTempFolder } from "../support/temp-folder.js";

/** More lines than an error needs. */
const mostLines = 8;

const copyBase = async (t: ExecutionContext): Promise<string> => {
  const folder = join(await makeTempFolder(t), "model");
  await cp(peftFixture("base"), folder, { recursive: true });
  return folder;
};

const changeConfig = async (folder: string, changes: object): Promise<void> => {
  const path = join(folder, "config.json");
  const config = JSON.parse(await readFile(path, "utf8")) as object;
  await writeFile(path, JSON.stringify({ ...config, ...changes }));
};

const renameTensors = async (folder: string, rename: (name: string) => string): Promise<void> => {
  const path = join(folder, "model.safetensors");
  const { entries } = await readSafetensorsHeader(path);
  const tensors = [];
  for (const entry of entries.values())
    tensors.push({
      name: rename(entry.name),
      dtype: "float32" as const,
      shape: entry.shape,
      data: await readTensorAsFloat32(entry),
    });
  await writeSafetensors(path, tensors);
};

const errorOf = async (t: ExecutionContext, model: string): Promise<string> => {
  const input = join(model, "..", "rows.jsonl");
  await writeFile(input, JSON.stringify({ input_ids: [1, 5], labels: [1, 5] }));
  const { code, err } = await runHira(
    ...["forward", `--model=${model}`, `--input=${input}`, `--out=${input}.safetensors`],
  );
  t.is(code, 2, err);
  t.true(err.trimEnd().split("\n").length <= mostLines, err);
  return err;
};

const cases: readonly {
  readonly title: string;
  readonly spoil: (folder: string) => Promise<void>;
  readonly says: RegExp;
}[] = [
  {
    title: "names without the model in front",
    spoil: (folder) => renameTensors(folder, (name) => name.replace(/^model\./, "")),
    says: /In common: 20 names lack "model\." in front/,
  },
  {
    title: "names with a wrapper in front",
    spoil: (folder) => renameTensors(folder, (name) => `_orig_mod.${name}`),
    says: /In common: 21 names have "_orig_mod\." in front/,
  },
  {
    title: "fewer layers in config.json",
    spoil: (folder) => changeConfig(folder, { num_hidden_layers: 1 }),
    says: /In common: config\.json says num_hidden_layers 1, the weights have 2/,
  },
  {
    title: "more layers in config.json",
    spoil: (folder) => changeConfig(folder, { num_hidden_layers: 3 }),
    says: /In common: config\.json says num_hidden_layers 3, the weights have 2/,
  },
  {
    title: "another hidden size in config.json",
    spoil: (folder) => changeConfig(folder, { hidden_size: 16 }),
    says: /In common: config\.json says hidden_size 16, the weights have 8/,
  },
  {
    title: "a file that was cut off",
    spoil: async (folder) => {
      const path = join(folder, "model.safetensors");
      // In the data of one of the first tensors.
      await truncate(path, (await stat(path)).size - 2000);
    },
    says: /In common: the file ends at byte \d+ of \d+, and \d+ of its 21 tensors, from ".*" on/,
  },
];

for (const { title, spoil, says } of cases)
  test(`many faulty tensors are counted, and what they have in common is said: ${title} (9.29)`, async (t) => {
    const folder = await copyBase(t);
    await spoil(folder);
    const text = await errorOf(t, folder);
    t.regex(text, /found \d+ faults\n/);
    t.regex(text, / {2}and \d+ more of this kind, up to "/);
    t.regex(text, says);
  });

test("many faulty rows are counted, with the first and the last (9.29)", async (t) => {
  const folder = await makeTempFolder(t);
  const rows = join(folder, "rows.jsonl");
  const row = { input_ids: [1, 99], labels: [1, 2] };
  await writeFile(rows, Array.from({ length: 60 }, () => JSON.stringify(row)).join("\n"));
  const { code, err } = await runHira(
    ...["--peft_type=hira", `--model=${peftFixture("base")}`, "--eval_strategy=no"],
    ...[`--dataset=${rows}`, `--output_folder=${folder}/runs`],
  );
  t.is(code, 2, err);
  t.true(err.trimEnd().split("\n").length <= 14, err);
});

test("few faults are all told, and flags always are (9.29)", (t) => {
  const eight = Array.from({ length: 8 }, (_, i) => `"t${String(i)}": found nothing, expected [1]`);
  t.deepEqual(linesOfFaults(eight), eight);
  const flags = Array.from({ length: 30 }, (_, i) => `--f${String(i)}: found 1, expected 2`);
  t.deepEqual(linesOfFaults(flags), flags);
  const nine = [...eight, '"t8": found nothing, expected [2, 2]'];
  t.deepEqual(linesOfFaults([...nine, '"u": found [1], expected no such tensor']), [
    nine[0],
    'and 8 more of this kind, up to "t8"',
    '"u": found [1], expected no such tensor',
  ]);
  t.is(
    userErrorOfFaults("Cannot load m", nine, undefined, "In common: all").message,
    'Cannot load m: found 9 faults\n  "t0": found nothing, expected [1]\n  and 8 more of this kind, up to "t8"\n  In common: all',
  );
  t.notRegex(
    userErrorOfFaults("Cannot load m", eight, undefined, "In common: all").message,
    /In c/,
  );
});
