import { readFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import { demoFolder } from "../../scripts/demo/paths.js";
import { loadTokenizer } from "../../src/tokenizer/load-tokenizer.js";
import { makeFolder } from "../support/make-folder.js";
import { runHira } from "../support/run-hira.js";

const long = (words: number): string => Array.from({ length: words }, () => "the").join(" ");

test("--dataset_analysis shows lengths before cutting, and which rows are cut where (9.37)", async (t) => {
  const rows = [10, 300, 20, 500].map((words, i) => ({
    instruction: long(words),
    output: i === 2 ? long(30) : "true",
  }));
  const folder = await makeFolder(t, {
    "llm_adapt/boolq/train.json": JSON.stringify([...rows, { instruction: "a", output: " " }]),
    "llm_adapt/boolq/test.json": JSON.stringify(rows.slice(0, 1)),
  });
  const ask = ["--dataset_analysis", "--dataset=boolq", `--data_dir=${folder}`];
  const { code, out, err } = await runHira(...ask, `--model=${demoFolder}`);
  t.is(code, 0, err);
  const tokenizer = await loadTokenizer(demoFolder);
  const encode = (text: string): number[] => tokenizer.encode(text);
  const [template, the] = [
    encode(
      "<s>Below is an instruction that describes a task. Write a response that appropriately completes the request.  \n\n### Instruction:\n\n\n### Response:\n",
    ).length,
    encode(long(101)).length - encode(long(100)).length,
  ];
  const found = (part: string): number[] => {
    const [, line = ""] =
      new RegExp(`^train +5\\n(?: .*\\n)*?  ${part} +(.*)$`, "m").exec(out) ?? [];
    return line.trim().split(/ +/).map(Number);
  };
  // Mean, least, percentiles 50, 90, 95 and 99, largest; a word may take a token more at its line's start.
  const contexts = found("context");
  t.is(contexts.length, 7);
  t.true(Math.abs((contexts[6] ?? 0) - (template + 500 * the)) <= 2, out);
  t.true((found("whole")[6] ?? 0) > (contexts[6] ?? 0));
  t.true((found("target")[6] ?? 0) >= 30 * the, out);
  t.regex(out, /^train: 2 \(40\.0%\) contexts over 256 tokens, cut.*\n {2}rows 2, 4$/m);
  t.regex(out, /^train: 1 \(20\.0%\) targets over 16 tokens, cut: .*EOS\n {2}row 3$/m);
  t.regex(out, /^train: 1 \(20\.0%\) rows without a label.*\n {2}row 5$/m);
  t.regex(out, /^test: no contexts over 256 tokens$/m);
  for (const line of out.split("\n")) t.true(line.length <= 80, line);

  // A larger --max_new_tokens leaves targets more room, as in training.
  const wide = await runHira(...ask, `--model=${demoFolder}`, "--max_new_tokens=64");
  t.regex(wide.out, /^train: no targets over 64 tokens$/m);
  const asOriginal = await runHira(...ask, `--model=${demoFolder}`, "--compat=tokens");
  t.regex(asOriginal.out, /contexts over 256 tokens, cut: they lose ### Response:/);
});

test("--dataset_analysis of common_all shows its eight sets, that of a file its rows (9.37)", async (t) => {
  const model = `--model=${demoFolder}`;
  const all = await runHira(
    ...["--dataset_analysis", "--dataset=common_all", `--data_dir=${demoFolder}`, model],
  );
  t.is(all.code, 0, all.err);
  t.deepEqual(
    [...all.out.matchAll(/^(\w+), lengths in tokens before cutting/gm)].map(([, name]) => name),
    ["boolq", "piqa", "siqa", "hellas", "winog", "arce", "arcc", "obqa"],
  );
  const own = await makeFolder(t, { "rows.jsonl": '{"prompt": "a", "completion": "b c"}' });
  const rows = await runHira("--dataset_analysis", `--dataset=${join(own, "rows.jsonl")}`, model);
  t.is(rows.code, 0, rows.err);
  t.regex(rows.out, /1 row of\s+prompt\/completion[^]*^train +1$[^]*nothing wrong was found/m);
  const text = await readFile(join(demoFolder, "llm_adapt/boolq/train.json"), "utf8");
  t.regex(all.out, new RegExp(`^train +${String((JSON.parse(text) as unknown[]).length)}$`, "m"));
});
