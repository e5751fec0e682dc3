import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import test from "ava";
import { demoFolder } from "../../scripts/demo/paths.js";
import { encodeLongText, packBlocks } from "../../src/datasets/pack-text.js";
import { cutWindows } from "../../src/datasets/text-windows.js";
import { loadTokenizer } from "../../src/tokenizer/load-tokenizer.js";
import { testWithShared } from "../support/shared.js";

const harbour = fileURLToPath(new URL("../fixtures/perplexity/harbour.txt", import.meta.url));
const awkward = "a\n\nb \n c\n\n\n  d\n\te\r\n\r\nf  \n\n g \u00a0\n\u3000h\n1\n 2\n\n";

const sameAsWhole = async (folder: string): Promise<{ found: number[]; whole: number[] }> => {
  const tokenizer = await loadTokenizer(folder);
  const text = (await readFile(harbour, "utf8")) + awkward.repeat(3);
  return { found: [...(await encodeLongText(tokenizer, text))], whole: tokenizer.encode(text) };
};

test("a long text has the tokens of one that is encoded in one piece", async (t) => {
  const { found, whole } = await sameAsWhole(demoFolder);
  t.deepEqual(found, whole);
});

for (const name of ["tokenizers/smollm2-135m-instruct", "models/stories260K"])
  testWithShared(`so it has with ${name}`, `data/${name}/tokenizer.json`, async (t, path) => {
    const { found, whole } = await sameAsWhole(path.replace("/tokenizer.json", ""));
    t.deepEqual(found, whole);
  });

test("blocks hold every token, the last one what is left, but not a single token", (t) => {
  const ids = Int32Array.from({ length: 11 }, (_, i) => i);
  const lengths = (size: number) => packBlocks(ids, size).map((row) => row.ids.length);
  t.deepEqual(lengths(4), [4, 4, 3]);
  t.deepEqual(lengths(5), [5, 5]);
  t.deepEqual(lengths(20), [11]);
  t.deepEqual([...(packBlocks(ids, 4)[1]?.ids ?? [])], [4, 5, 6, 7]);
});

test("windows predict every token but the first once, whatever the stride", (t) => {
  const ids = Int32Array.from({ length: 23 }, (_, i) => 100 + i);
  for (const [maxLength, stride, windowBos] of [
    [8, 3, undefined],
    [8, 7, undefined],
    [8, 7, 1],
    [30, 4, undefined],
    [2, 1, 1],
  ] as const) {
    const windows = cutWindows({ row: 0, ids }, { maxLength, stride, windowBos });
    const labels = windows.flatMap((row) => [...(row.labels ?? [])].slice(1));
    const expected = [...ids].slice(windowBos === undefined ? 1 : 0);
    t.deepEqual(labels.filter((label) => label >= 0).sort(), expected);
    t.true(windows.every((row) => row.ids.length <= maxLength));
  }
  t.throws(() => cutWindows({ row: 0, ids }, { maxLength: 8, stride: 9 }), {
    message: /expected 1 to 8/,
  });
});
