import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { readAnswers } from "../../src/score/read-answers.js";

const write = async (text: string): Promise<string> => {
  const path = join(await mkdtemp(join(tmpdir(), "hira-answers-")), "boolq.jsonl");
  await writeFile(path, text);
  return path;
};

const row = (name: string): string => JSON.stringify({ context: name, pred: "{a}{b}", gt: "c" });

test("readAnswers tells objects apart that stand in one line, as in the original's files", async (t) => {
  const path = await write(`{"dataset":"boolq"}{"r":1}\n${row("1")}${row("2")}\n${row("3")}\n`);
  const { answers, header, remarks } = await readAnswers(path);
  t.deepEqual(
    answers.map(({ context }) => context),
    ["1", "2", "3"],
  );
  t.deepEqual(header, [{ dataset: "boolq" }, { r: 1 }]);
  t.deepEqual(remarks, []);
});

for (const [what, torn] of [
  ["a lone brace", "{"],
  ["half a row", '{"context": "0", "pr'],
  ["a whole row and half a one", `${row("0")}{"context": "x", "pred": "ab`],
] as const) {
  test(`readAnswers reads the row that was written behind ${what}, and says what was cut off`, async (t) => {
    const path = await write(`{"dataset":"boolq"}\n${torn}${row("1")}\n${row("2")}\n`);
    const { answers, remarks } = await readAnswers(path);
    t.deepEqual(
      answers.map(({ context }) => context),
      torn.startsWith(row("0")) ? ["0", "1", "2"] : ["1", "2"],
    );
    t.deepEqual(remarks, ["left out: the start of a row that was cut off, line 2"]);
  });
}

test("readAnswers leaves a line that is no JSON out under compat scorer alone", async (t) => {
  const path = await write(`${row("1")}\n{"context": "2", "pre\n${row("3")}\n`);
  await t.throwsAsync(readAnswers(path), { message: /boolq\.jsonl, line 2/ });
  const { answers, remarks } = await readAnswers(path, new Set(["scorer"] as const));
  t.is(answers.length, 2);
  t.deepEqual(remarks, ["left out, as the original does: line 2, no JSON"]);
});
