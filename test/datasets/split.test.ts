import { readFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import { UserError } from "../../src/core/errors.js";
import { splitCommonsense } from "../../src/datasets/split.js";
import { makeFolder } from "../support/make-folder.js";

const rows = Array.from({ length: 10 }, (_, i) => ({
  instruction: `question ${String(i)}`,
  input: "",
  output: `é "${String(i)}"\n\u007f`,
}));

test("splitCommonsense holds out the rows that Python's shuffle puts last", async (t) => {
  const folder = await makeFolder(t, { "all.json": JSON.stringify(rows) });
  const outFolder = join(folder, "out");
  const { files } = await splitCommonsense({
    input: join(folder, "all.json"),
    outFolder,
    holdOut: 3,
  });
  t.deepEqual(
    Object.values(files).map(({ rows: count }) => count),
    [7, 3, 3],
  );
  const read = async (split: string): Promise<unknown> =>
    JSON.parse(await readFile(join(outFolder, `${split}.json`), "utf8"));
  // Python: random.seed(58); random.shuffle(list(range(10))) gives 2 4 7 0 1 6 5 8 3 9.
  t.deepEqual(
    await read("train"),
    [2, 4, 7, 0, 1, 6, 5].map((i) => rows[i]),
  );
  for (const split of ["validation", "test"])
    t.deepEqual(
      await read(split),
      [8, 3, 9].map((i) => rows[i]),
    );
});

test("splitCommonsense writes the bytes of Python's json.dump with indent 4", async (t) => {
  const folder = await makeFolder(t, { "all.json": JSON.stringify(rows.slice(0, 2)) });
  await splitCommonsense({ input: join(folder, "all.json"), outFolder: folder, holdOut: 1 });
  t.is(
    await readFile(join(folder, "test.json"), "utf8"),
    '[\n    {\n        "instruction": "question 0",\n        "input": "",\n        "output": "\\u00e9 \\"0\\"\\n\\u007f"\n    }\n]',
  );
});

test("splitCommonsense names rows without input, and refuses to hold out too many", async (t) => {
  const folder = await makeFolder(t, {
    "bad.json": '[{"input": ""}, {"instruction": "i"}, {"output": "o"}]',
    "few.json": JSON.stringify(rows),
  });
  await t.throwsAsync(splitCommonsense({ input: join(folder, "bad.json"), outFolder: folder }), {
    instanceOf: UserError,
    message: /bad\.json, row 2: found fields instruction, expected input.*\n {2}row 3: /,
  });
  await t.throwsAsync(splitCommonsense({ input: join(folder, "few.json"), outFolder: folder }), {
    instanceOf: UserError,
    message: /Cannot hold 120 rows out of .*few\.json: found 10 rows/,
  });
});
