import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import { generatedRows, readPromptRows } from "../../src/decode/prompt-rows.js";
import { makeTempFolder } from "../support/temp-folder.js";

const tokenizer = {
  bosToken: "<s>",
  encode: (text: string) => [...text.replace("<s>", "\u0001")].map((c) => c.charCodeAt(0)),
  decode: (ids: readonly number[]) => String.fromCharCode(...ids),
};
const write = async (folder: string, rows: readonly object[]): Promise<string> => {
  const path = join(folder, "prompts.jsonl");
  await writeFile(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  return path;
};

test("readPromptRows puts BOS before a text that does not begin with it", async (t) => {
  const path = await write(await makeTempFolder(t), [{ prompt: "ab" }, { prompt: "<s>ab" }]);
  t.deepEqual(await readPromptRows(path, { tokenizer, vocabularySize: 200 }), [
    { ids: [1, 97, 98] },
    { ids: [1, 97, 98] },
  ]);
});

test("readPromptRows takes ids as they are and counts the padding at the left", async (t) => {
  const path = await write(await makeTempFolder(t), [
    { input_ids: [5, 6] },
    { input_ids: [3, 3, 7, 3], attention_mask: [0, 0, 1, 1] },
  ]);
  t.deepEqual(await readPromptRows(path, { tokenizer: undefined, vocabularySize: 8 }), [
    { ids: [5, 6], paddingColumns: 0 },
    { ids: [7, 3], paddingColumns: 2 },
  ]);
});

test("readPromptRows lists every faulty row", async (t) => {
  const path = await write(await makeTempFolder(t), [
    { text: "a" },
    { prompt: 5 },
    { prompt: "a" },
    { input_ids: [1, 8] },
    { input_ids: [1, 2], attention_mask: [1, 0] },
    { input_ids: [1, 2], attention_mask: [0, 0] },
    { input_ids: [1, 2], attention_mask: [1] },
    {},
  ]);
  const error = await t.throwsAsync(
    readPromptRows(path, { tokenizer: undefined, vocabularySize: 8 }),
  );
  t.deepEqual(error?.message.replace(path, "FILE").split("\n"), [
    "Cannot read FILE, line 1: found fields text, expected prompt, a text, or input_ids",
    "  line 2: found a number in prompt, expected prompt, a text, or input_ids",
    "  line 3: found a text, expected input_ids: the model's folder has no tokenizer",
    "  line 4: found 8 in input_ids[1], expected a whole number from 0 below 8",
    "  line 5: found padding behind a token in attention_mask, expected it at the left only",
    "  line 6: found no token, expected at least one that is not padding",
    "  line 7: found 1 attention_mask, expected 2 as in input_ids",
    "  line 8: found no fields, expected prompt, a text, or input_ids",
  ]);
});

test("generatedRows writes a line for every sequence, with text where there is a tokenizer", (t) => {
  const best = { tokens: [97, 2], score: -1, stoppedBy: "eos" } as const;
  const second = { tokens: [98], score: -2, stoppedBy: "length" } as const;
  t.deepEqual(generatedRows([[best, second], [second]], undefined), [
    { row: 0, new_tokens: [97, 2], score: -1, stopped_by: "eos" },
    { row: 0, new_tokens: [98], score: -2, stopped_by: "length" },
    { row: 1, new_tokens: [98], score: -2, stopped_by: "length" },
  ]);
  t.is(generatedRows([[second]], tokenizer)[0]?.text, "b");
});
