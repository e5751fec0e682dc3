import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import { demoFolder } from "../../scripts/demo/paths.js";
import { peftFixture } from "../support/adapter-base.js";
import { runHira } from "../support/run-hira.js";
import { makeTempFolder } from "../support/temp-folder.js";
import { makeFolder } from "../support/make-folder.js";
import { tinyRunFlags, trainTiny, writeTinyRows } from "../support/tiny-runs.js";

const parseLines = (text: string): unknown[] =>
  text
    .trim()
    .split("\n")
    .map((line): unknown => JSON.parse(line));

test("rows of token ids as JSON, also in .jsonl, and pretty-printed in .json give the same run (9.27)", async (t) => {
  const folder = await makeTempFolder(t);
  const rows = await writeTinyRows(folder);
  const values = parseLines(await readFile(rows, "utf8"));
  const [array, pretty] = [join(folder, "array.jsonl"), join(folder, "pretty.json")];
  await writeFile(array, `\ufeff${JSON.stringify(values, undefined, 2)}\n`);
  await writeFile(pretty, values.map((row) => JSON.stringify(row, undefined, 2)).join("\n"));
  const losses = async (name: string, ...flags: readonly string[]): Promise<unknown> => {
    const run = await trainTiny(t, join(folder, name), ...flags);
    const metrics = parseLines(await readFile(join(run, "metrics.jsonl"), "utf8"));
    return (metrics as { readonly loss: number }[]).map(({ loss }) => loss);
  };
  const method = "--peft_type=hira";
  t.deepEqual(
    await losses("mixed", method, ...tinyRunFlags(pretty), `--validation=${array}`),
    await losses("plain", method, ...tinyRunFlags(rows)),
  );
});

test("hira forward and generate take JSON arrays and objects over several lines (9.27)", async (t) => {
  const rows = [
    { input_ids: [1, 5, 6], labels: [-100, 5, 6] },
    { input_ids: [1, 7, 2], labels: [-100, 7, 2] },
  ];
  const lines = rows.map((row) => JSON.stringify(row)).join("\n");
  const folder = await makeFolder(t, {
    "lines.jsonl": lines,
    "array.json": JSON.stringify(rows),
    "array.jsonl": JSON.stringify(rows, undefined, 2),
    "lines.json": lines,
    "pretty.jsonl": rows.map((row) => JSON.stringify(row, undefined, 2)).join("\n"),
  });
  for (const [command, ending] of [
    ["forward", "safetensors"],
    ["generate", "jsonl"],
  ] as const) {
    const made: Buffer[] = [];
    for (const input of [
      "lines.jsonl",
      "array.json",
      "array.jsonl",
      "lines.json",
      "pretty.jsonl",
    ]) {
      const out = join(folder, `${command}-${input}.${ending}`);
      const { code, err } = await runHira(
        command,
        `--model=${peftFixture("base")}`,
        ...[`--input=${join(folder, input)}`, `--out=${out}`],
      );
      t.is(code, 0, err);
      made.push(await readFile(out));
    }
    for (const other of made.slice(1)) t.deepEqual(other, made[0]);
  }
});

test("a data set's files are read by what is in them, and so are answers (9.27)", async (t) => {
  const rows = Array.from({ length: 3 }, (_, i) => ({
    instruction: `question ${String(i)}`,
    output: "the correct answer is true",
  }));
  const lines = rows.map((row) => JSON.stringify(row)).join("\n");
  const answers = rows.map(({ instruction, output }) => ({
    context: instruction,
    pred: output,
    gt: output,
  }));
  const folder = await makeFolder(t, {
    "llm_adapt/boolq/train.json": lines,
    "llm_adapt/boolq/test.jsonl": JSON.stringify(rows, undefined, 2),
    "boolq_eval.json": JSON.stringify(answers),
  });
  const { code, out, err } = await runHira(
    ...["--dataset_analysis", "--dataset=boolq", `--model=${demoFolder}`, `--data_dir=${folder}`],
  );
  t.is(code, 0, err);
  t.regex(out, /^train +3$/m);
  t.regex(out, /^test +3$/m);
  const scored = await runHira("score", join(folder, "boolq_eval.json"));
  t.is(scored.code, 0, scored.err);
  t.regex(scored.out, /BoolQ +100\.0/);
});
