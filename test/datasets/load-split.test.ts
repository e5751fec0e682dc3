import { join } from "node:path";
import { gzipSync } from "node:zlib";
import test from "ava";
import type { Compat } from "../../src/core/compat.js";
import { UserError } from "../../src/core/errors.js";
import { inputWarning, keepRatio, loadSplit } from "../../src/datasets/load-split.js";
import { findSingleDataset } from "../../src/datasets/registry.js";
import { testWithShared } from "../support/shared.js";
import { makeFolder } from "../support/make-folder.js";

const rowsFile = (name: string, count: number): string =>
  JSON.stringify(
    Array.from({ length: count }, (_, i) => ({
      instruction: ` ${name} ${String(i)} `,
      input: "",
      output: ` answer ${String(i)}\n`,
      answer: "x",
    })),
  );
const boolq = findSingleDataset("boolq");
const asOriginal: Compat = new Set(["splits"]);

test("loadSplit strips targets and leaves contexts as they are", async (t) => {
  const root = await makeFolder(t, { "llm_adapt/boolq/test.json": rowsFile("test", 2) });
  const { rows, path, rowsInFile, warning } = await loadSplit(boolq, "test", { root });
  t.deepEqual(rows, [
    { context: " test 0 ", target: "answer 0" },
    { context: " test 1 ", target: "answer 1" },
  ]);
  t.is(path, join(root, "llm_adapt/boolq/test.json"));
  t.is(rowsInFile, 2);
  t.is(warning, undefined);
});

const alpaca = JSON.stringify([
  { instruction: "a", input: "in a", output: "1" },
  { instruction: "b", input: " \n", output: "2" },
  { instruction: "c", output: "3" },
  { instruction: "d", input: null, output: "4" },
  { instruction: "e", input: "in e", output: "5" },
]);

test("loadSplit drops a row's input and counts it, or keeps it (9.4)", async (t) => {
  const root = await makeFolder(t, { "llm_adapt/boolq/test.json": alpaca });
  const dropped = await loadSplit(boolq, "test", { root });
  t.deepEqual(dropped.rows[0], { context: "a", target: "1" });
  t.deepEqual(dropped.droppedInputs, [0, 4]);
  t.regex(
    inputWarning(dropped) ?? "",
    /test\.json: the "input" of 2 of 5 rows is dropped, as train_hira\.py does \(rows 1, 5\); --use_input puts/,
  );
  t.regex(inputWarning({ ...dropped, rows: dropped.rows.slice(0, 4) }) ?? "", /of 1 of 4 rows/);
  const kept = await loadSplit(boolq, "test", { root, useInput: true });
  t.deepEqual(kept.rows, [
    { context: "a", input: "in a", target: "1" },
    { context: "b", target: "2" },
    { context: "c", target: "3" },
    { context: "d", target: "4" },
    { context: "e", input: "in e", target: "5" },
  ]);
  t.is(inputWarning(kept), undefined);
});

test("loadSplit takes no input that is not text (9.4)", async (t) => {
  const rows = [{ instruction: "a", input: 5, output: "1" }];
  const root = await makeFolder(t, { "llm_adapt/boolq/test.json": JSON.stringify(rows) });
  t.deepEqual((await loadSplit(boolq, "test", { root })).droppedInputs, [0]);
  await t.throwsAsync(loadSplit(boolq, "test", { root, useInput: true }), {
    instanceOf: UserError,
    message: /test\.json, row 1: found a number in input, expected text/,
  });
});

test("loadSplit reads test as validation with a warning, unless a validation file is there", async (t) => {
  const files = {
    "llm_adapt/boolq/test.json": rowsFile("test", 3),
    "llm_adapt/piqa/test.json": rowsFile("test", 3),
    "llm_adapt/piqa/validation.jsonl.gz": gzipSync('{"instruction": "v", "output": "o"}'),
  };
  const root = await makeFolder(t, files);
  const loaded = await loadSplit(boolq, "validation", { root });
  t.is(loaded.rows.length, 3);
  t.regex(
    loaded.warning ?? "",
    /boolq has no validation rows: .* validation\.json, or train on common_170k/,
  );
  t.is((await loadSplit(boolq, "validation", { root, compat: asOriginal })).warning, undefined);
  const piqa = findSingleDataset("piqa");
  const own = await loadSplit(piqa, "validation", { root });
  t.deepEqual([own.rows.length, own.warning], [1, undefined]);
  t.is((await loadSplit(piqa, "validation", { root, compat: asOriginal })).rows.length, 3);
});

test("--dataset_ratio keeps the first rows of train and validation, and of test under compat alone", async (t) => {
  const files = Object.fromEntries(
    ["train", "validation", "test"].map((split) => [
      `llm_adapt/commonsense_170k/${split}.json`,
      rowsFile(split, 10),
    ]),
  );
  const common = findSingleDataset("common_170k");
  const root = await makeFolder(t, files);
  const counts = async (compat: Compat): Promise<number[]> =>
    Promise.all(
      (["train", "validation", "test"] as const).map(
        async (split) =>
          (await loadSplit(common, split, { root, ratio: 0.29, compat })).rows.length,
      ),
    );
  t.deepEqual(await counts(new Set()), [2, 2, 10]);
  t.deepEqual(await counts(asOriginal), [2, 2, 2]);
  const { rows, rowsInFile } = await loadSplit(common, "train", { root, ratio: 0.29 });
  t.deepEqual([rows[0]?.context, rowsInFile], [" train 0 ", 10]);
});

test("keepRatio refuses a ratio that leaves nothing", (t) => {
  t.is(keepRatio([1, 2], 1.5, "f").length, 2);
  t.throws(() => keepRatio([1, 2], 0.1, "f"), { instanceOf: UserError, message: /none is left/ });
  for (const ratio of [0, -1, NaN])
    t.throws(() => keepRatio([1], ratio, "f"), { instanceOf: UserError });
});

test("loadSplit says which file is missing, and which row lacks a field", async (t) => {
  const files = {
    "llm_adapt/boolq/train.json": '[{"instruction": "i", "output": "o"}, {"question": "q"}]',
  };
  const root = await makeFolder(t, files);
  await t.throwsAsync(loadSplit(boolq, "test", { root }), {
    instanceOf: UserError,
    message: /Cannot find the test rows in .*boolq: found none of test\.json, test\.jsonl/,
  });
  await t.throwsAsync(loadSplit(boolq, "train", { root }), {
    instanceOf: UserError,
    message: /train\.json, row 2: found fields question, expected/,
  });
});

testWithShared(
  "every commonsense set reads, with the counts of its files",
  "data/data_file",
  async (t, root) => {
    const counts = {
      common_170k: [12000, 120, 120],
      boolq: [9427, 3270, 3270],
      piqa: [16113, 1838, 1838],
      arce: [2251, 2376, 2376],
      arcc: [1119, 1172, 1172],
      obqa: [4957, 500, 500],
      winog: [63238, 1267, 1267],
      siqa: [33410, 1954, 1954],
      hellas: [39905, 10042, 10042],
    };
    for (const [name, [train, validation, tests]] of Object.entries(counts)) {
      const count = async (split: "train" | "validation" | "test"): Promise<number> =>
        (await loadSplit(findSingleDataset(name), split, { root })).rows.length;
      t.deepEqual(
        [await count("train"), await count("validation"), await count("test")],
        [train, validation, tests],
        name,
      );
    }
  },
);
