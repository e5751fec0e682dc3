import { join } from "node:path";
import test from "ava";
import { UserError } from "../../src/core/errors.js";
import { readPreTokenized } from "../../src/datasets/pre-tokenized.js";
import { makeFolder } from "../support/make-folder.js";

const jsonl = (...rows: unknown[]): string => rows.map((row) => JSON.stringify(row)).join("\n");

test("readPreTokenized takes rows as they are", async (t) => {
  const folder = await makeFolder(t, {
    "a.jsonl": jsonl(
      { input_ids: [3, 4, 5], labels: [-100, -100, 6] },
      { input_ids: [3, 4], labels: [3, 4], attention_mask: [0, 1], note: "kept out" },
    ),
  });
  const { rows } = await readPreTokenized(join(folder, "a.jsonl"), { vocabularySize: 7 });
  t.deepEqual(rows, [
    {
      row: 0,
      ids: Int32Array.of(3, 4, 5),
      contextLength: 2,
      labels: Int32Array.of(-100, -100, 6),
      attentionMask: undefined,
    },
    {
      row: 1,
      ids: Int32Array.of(3, 4),
      contextLength: 0,
      labels: Int32Array.of(3, 4),
      attentionMask: Uint8Array.of(0, 1),
    },
  ]);
});

for (const [row, message] of [
  [{ ids: [1] }, /found fields ids, expected input_ids/],
  [{ input_ids: "1 2" }, /found a string in input_ids, expected an array/],
  [{ input_ids: [] }, /found an empty input_ids/],
  [{ input_ids: [1, 2] }, /found fields input_ids, expected labels/],
  [{ input_ids: [1, 2, 3], labels: [1, 2] }, /found 2 labels, expected 3 as in input_ids/],
  [
    { input_ids: [1, 2], labels: [1, 2], attention_mask: [1] },
    /found 1 attention_mask, expected 2/,
  ],
  [
    { input_ids: [1, 2.5], labels: [1, 2] },
    /found 2\.5 in input_ids\[1\], expected a whole number/,
  ],
  [{ input_ids: [1, 100], labels: [1, 2] }, /found 100 in input_ids\[1\], .* from 0 below 100/],
  [{ input_ids: [1, 2], labels: [1, -1] }, /found -1 in labels\[1\], expected -100 or/],
  [{ input_ids: [1, 2], labels: [1, null] }, /found null in labels\[1\]/],
  [
    { input_ids: [1, 2], labels: [1, 2], attention_mask: [1, 2] },
    /found 2 in attention_mask\[1\], expected 0 or 1/,
  ],
  [{ input_ids: [1, 2], labels: [1, -100] }, /found no label behind the first token/],
] as const) {
  test(`readPreTokenized says what is wrong with ${JSON.stringify(row)}`, async (t) => {
    const good = { input_ids: [1, 2], labels: [-100, 2] };
    const folder = await makeFolder(t, { "a.jsonl": jsonl(good, row, good, row) });
    const error = await t.throwsAsync(
      readPreTokenized(join(folder, "a.jsonl"), { vocabularySize: 100 }),
      { instanceOf: UserError, message },
    );
    t.regex(error?.message ?? "", /a\.jsonl, line 2: .*\n {2}line 4: /);
  });
}
