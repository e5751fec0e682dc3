import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import { demoFolder } from "../../scripts/demo/paths.js";
import { DEMO_SEED } from "../../scripts/demo/recipe.js";
import { mixedRows, taskFolders, taskNames, taskRows } from "../../scripts/demo/tasks.js";
import { loadTokenizer } from "../../src/tokenizer/load-tokenizer.js";
import { loadModelFolder } from "../../src/models/model-folder.js";

const readRows = async (folder: string, split: string): Promise<unknown> =>
  JSON.parse(await readFile(join(demoFolder, "llm_adapt", folder, `${split}.json`), "utf8"));

test("data_file/demo takes at most 6 MB", async (t) => {
  const names = await readdir(demoFolder, { recursive: true });
  const sizes = await Promise.all(names.map((name) => stat(join(demoFolder, name))));
  const bytes = sizes.reduce((sum, file) => sum + (file.isFile() ? file.size : 0), 0);
  t.true(bytes <= 6e6, `${String(bytes)} bytes`);
});

test("data_file/demo holds the rows that the generator writes", async (t) => {
  for (const task of taskNames)
    for (const split of ["train", "test"] as const)
      t.deepEqual(await readRows(taskFolders[task], split), taskRows(DEMO_SEED, task, split));
  t.deepEqual(await readRows("commonsense_170k", "train"), mixedRows(DEMO_SEED, "train"));
  for (const split of ["validation", "test"])
    t.deepEqual(await readRows("commonsense_170k", split), mixedRows(DEMO_SEED, "validation"));
});

test("data_file/demo's tokenizer spells every row with known tokens and gives the text back", async (t) => {
  const tokenizer = await loadTokenizer(demoFolder);
  const { model } = await loadModelFolder(demoFolder);
  t.true(tokenizer.vocabularySize <= model.vocabSize);
  for (const { instruction, output } of mixedRows(DEMO_SEED, "train").slice(0, 200)) {
    const text = instruction + output;
    t.is(tokenizer.decode(tokenizer.encode(text)), text);
  }
});
