import test from "ava";
import { commands } from "../../src/cli/commands.js";
import { main } from "../../src/cli/main.js";
import { columnsOf, wrapCommand, wrapText } from "../../src/cli/wrap-text.js";
import { recordingStream } from "./support.js";

test("columnsOf asks the terminal, then COLUMNS, and is 80 otherwise (9.34)", (t) => {
  t.is(columnsOf({ columns: 120 }, { COLUMNS: "60" }), 120);
  t.is(columnsOf({}, { COLUMNS: "60" }), 60);
  for (const COLUMNS of ["", "0", "-3", "wide", "1e3"]) t.is(columnsOf({}, { COLUMNS }), 80);
  t.is(columnsOf({ columns: 0 }, {}), 80);
});

test("wrapText breaks at blanks, a word that is too long after its hyphens, and else anywhere", (t) => {
  t.deepEqual(wrapText("one two three\nfour", 9, "  "), ["one two", "  three", "  four"]);
  t.deepEqual(wrapText("a run-of-2026-01-09", 8), ["a run-", "of-2026-", "01-09"]);
  t.deepEqual(wrapText("abcdefgh", 3), ["abc", "def", "gh"]);
  t.deepEqual(wrapText("", 3), [""]);
});

test("wrapCommand gives lines that a shell reads as one", (t) => {
  const line = `hira --exp_name='a b' --model=DIR --out="c d"`;
  t.deepEqual(wrapCommand(line, 80, "  "), [`  ${line}`]);
  const lines = wrapCommand(line, 30, "  ");
  t.deepEqual(lines, [`  hira --exp_name='a b' \\`, `    --model=DIR --out="c d"`]);
});

for (const columns of [80, 60, 132])
  test(`every --help fits ${String(columns)} columns (9.34)`, async (t) => {
    const lines = [[], ["--help"], ...commands.map(({ name }) => [...name.split(" "), "--help"])];
    for (const line of lines) {
      const stream = recordingStream(columns === 132 ? { isTTY: true, columns } : {});
      const environment = columns === 60 ? { COLUMNS: "60" } : {};
      await main(line, { stdout: stream, stderr: stream, environment });
      const widths = stream
        .text()
        .split("\n")
        .map(({ length }) => length);
      t.true(Math.max(...widths) <= columns, `${line.join(" ")}: ${String(Math.max(...widths))}`);
      // A wider terminal is used.
      if (line[0] === "train") t.true(Math.max(...widths) > columns - 8);
    }
  });
