import { existsSync } from "node:fs";
import { mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import test from "ava";
import { fieldsOfTemplate } from "../../src/datasets/template-fields.js";
import { madeUpChats } from "../support/made-up-chats.js";
import { runHira } from "../support/run-hira.js";
import { makeTempFolder } from "../support/temp-folder.js";

const demo = fileURLToPath(new URL("../../data_file/demo", import.meta.url));

const flags = (folder: string, ...more: readonly string[]): readonly string[] => [
  ...["--peft_type=hira", `--model=${demo}`, "--r_ab=4", "--batch=8", "--max_steps=6"],
  ...["--warmup=0", "--lr=5e-3", `--output_folder=${join(folder, "out")}`, ...more],
];

test("a file of 50 chats trains with the loss on the assistant's turns, as --show_rows shows", async (t) => {
  const folder = await makeTempFolder(t);
  const path = join(folder, "chats.jsonl");
  // A byte order mark, as Windows' editors write it.
  await writeFile(
    path,
    `\ufeff${madeUpChats()
      .map((chat) => JSON.stringify(chat))
      .join("\n")}\n`,
  );
  const { code, out, err } = await runHira(
    ...flags(folder, `--dataset=${path}`, "--template=chatml", "--validation=0.2"),
    ...["--eval_strategy=steps", "--eval_steps=3", "--show_rows=2"],
  );
  t.is(code, 0, err);
  const said = out + err;
  t.true(
    said.includes(
      `${path}: 50 rows of chats (messages), written by chatml; loss on the assistant's turns only; 10 held out for validation, 40 to train on`,
    ),
    said,
  );
  const lines = said.split("\n");
  t.is(lines.filter((line) => /^Row \d+ of .*: \d+ tokens, loss on \d+$/.test(line)).length, 2);
  const learnt = lines.filter((line) => line.startsWith("  loss")).join("\n");
  t.regex(learnt, /The \w+ is in the \w+\.<\|im_end\|>/);
  t.notRegex(learnt, /Where is|You know|im_start/);
  const [run = ""] = await readdir(join(folder, "out"));
  t.true((await readdir(join(folder, "out", run))).includes("output.jsonl"));
  t.regex(said, /Best validation loss/);
});

test("rows of each form train, tables too", async (t) => {
  const folder = await makeTempFolder(t);
  const files: readonly (readonly [string, string, RegExp])[] = [
    ["a.jsonl", '{"prompt":"2+2=","completion":"4"}\n'.repeat(4), /prompts as they stand/],
    ["b.json", JSON.stringify([{ instruction: "Add", input: "2, 2", output: "4" }]), /alpaca/],
    ["c.csv", 'question,answer\n"How\nmany?","four, ""4"""\n', /question\/answer.*template qa/],
    ["d.jsonl", JSON.stringify({ text: "word ".repeat(100) }), /texts are longer than 100 tokens/],
    ["e.jsonl", '{"text":"good","label":1}', /label is not used, --task=sequence-classification/],
  ];
  for (const [name, text, expected] of files) {
    const path = join(folder, name);
    await writeFile(path, text);
    const { code, out, err } = await runHira(
      ...flags(folder, `--dataset=${path}`, "--eval_strategy=no", "--max_length=100"),
      ...["--max_steps=1", "--show_rows=1"],
    );
    t.is(code, 0, name + err);
    t.regex(out + err, expected);
  }
});

test("what a prompt's template writes and no row has is refused, what it asks for first is not", async (t) => {
  t.deepEqual(
    [
      ...fieldsOfTemplate(
        "{% set n = 1 %}{% for x in list %}{{ x.a }}{{ loop.index }}{% endfor %}{% if input %}{{ input }}{% endif %}" +
          "{{ a | trim | default(b) }} {{ prompt.foo }} {{ prompt.strip() }} {{ n }} {{ c if c is defined else d[e] }}",
      ),
    ].sort(),
    ["b", "d", "e", "list", "prompt", "prompt.foo"],
  );
  const folder = await makeTempFolder(t);
  const [path, template] = [join(folder, "a.jsonl"), join(folder, "t.jinja")];
  await writeFile(path, JSON.stringify({ ask: "two?", gold: "2" }) + "\n");
  await writeFile(template, "Q {{ aks }}{% if context %}{{ context }}{% endif %}\nA ");
  const { code, err } = await runHira(
    ...flags(folder, `--dataset=${path}`, "--prompt_field=ask", "--target_field=gold"),
    ...[`--template=${template}`, "--eval_strategy=no"],
  );
  t.is(code, 2);
  t.regex(err, /found \{\{ aks \}\}, expected fields of its rows that are texts: .*ask/);
});

test("a prompt's template from a file, and fields by name", async (t) => {
  const folder = await makeTempFolder(t);
  const [path, template] = [join(folder, "a.jsonl"), join(folder, "t.jinja")];
  await writeFile(path, '{"ask":"Who?","gold":"Me"}\n');
  await writeFile(template, "Q {{ ask }}\nA \n");
  const { code, out, err } = await runHira(
    ...flags(folder, `--dataset=${path}`, "--eval_strategy=no", "--max_steps=1"),
    ...["--prompt_field=ask", "--target_field=gold", `--template=${template}`, "--show_rows=1"],
  );
  t.is(code, 0, err);
  t.regex(out + err, / {8}<s>Q Who\?⏎\n {8}A\n {2}loss {2}Me<\/s>\n/);
});

test("what own data cannot be trained on says what to do, and writes nothing", async (t) => {
  const folder = await makeTempFolder(t);
  const fails = async (text: string | Buffer, ...more: readonly string[]): Promise<string> => {
    const path = join(folder, "a.jsonl");
    await writeFile(path, text);
    const { code, err } = await runHira(
      ...flags(folder, `--dataset=${path}`, "--eval_strategy=no", ...more),
    );
    t.is(code, 2, err);
    return err;
  };
  const chats = `${JSON.stringify(madeUpChats()[0])}\n`;
  t.regex(await fails(chats), /found no chat template in its tokenizer_config\.json/);
  t.regex(await fails(chats), /--template chatml/);
  const mixed = Buffer.concat([
    Buffer.from('{"text":"ä"}\n{"text":"'),
    Buffer.from([0xe4]),
    Buffer.from('"}\n'),
  ]);
  t.regex(await fails(mixed), /line 2: found bytes that are not UTF-8/);
  t.regex(
    await fails('{"prompt":"a b c d e f g h","completion":"i"}\n', "--max_length=2"),
    /line 1: found no token to learn among the first 2 of \d+/,
  );
  t.regex(await fails('{"text":"a"}\n', "--validation=0.5"), /without|found 1 rows|no effect/i);
  t.regex(await fails('{"input_ids":[1,2],"labels":[1,2]}\n', "--template=qa"), /found token ids/);
  t.false(existsSync(join(folder, "out")));
});

test("--ckpt answers a file's rows as they were trained, and hira score compares them as texts", async (t) => {
  const folder = await makeTempFolder(t);
  const path = join(folder, "pairs.jsonl");
  const pairs = Array.from({ length: 6 }, (_, i) => ({
    ask: `Say ${"ab"[i % 2] ?? ""}`,
    gold: "a",
  }));
  await writeFile(path, pairs.map((pair) => JSON.stringify(pair)).join("\n"));
  const fields = ["--prompt_field=ask", "--target_field=gold"];
  const trained = await runHira(
    ...flags(folder, `--dataset=${path}`, "--eval_strategy=no", "--max_steps=12", ...fields),
    ...["--template=qa", "--batch=4", "--lr=2e-2"],
  );
  t.is(trained.code, 0, trained.err);
  const [run = ""] = await readdir(join(folder, "out"));
  const ckpt = `--ckpt=${join(folder, "out", run)}`;
  const answered = await runHira(ckpt, `--dataset=${path}`, "--max_new_tokens=3", "--limit=4");
  t.is(answered.code, 0, answered.err);
  const said = answered.out + answered.err;
  t.true(said.includes("4 rows of ask/gold, prompts by qa"), said);
  const answers = join(folder, "out", run, "output_-1_pairs_maxT=3_eval.jsonl");
  const rows = (await readFile(answers, "utf8")).trim().split("\n").slice(4);
  t.deepEqual(
    rows.map((line) => (JSON.parse(line) as { context: string; gt: string }).context),
    ["Say a", "Say b", "Say a", "Say b"],
  );
  const score = await runHira("score", answers, "--json");
  t.is(score.code, 0, score.err);
  t.regex(score.out, /"exact"/);
  t.regex(score.out, /"rougel"/);

  // A file of chats, by the plain model: the turns before the assistant's last one are asked.
  const chats = join(folder, "chats.jsonl");
  await writeFile(
    chats,
    madeUpChats()
      .slice(0, 3)
      .map((chat) => JSON.stringify(chat))
      .join("\n"),
  );
  const plain = await runHira(
    ...[`--ckpt=${demo}`, `--dataset=${chats}`, "--template=chatml", "--max_new_tokens=2"],
    `--output_folder=${join(folder, "plain")}`,
  );
  t.is(plain.code, 0, plain.err);
  const file = join(folder, "plain", "demo", "output_-1_chats_maxT=2_eval.jsonl");
  const first = JSON.parse((await readFile(file, "utf8")).split("\n")[4] ?? "") as object;
  t.deepEqual(Object.keys(first), ["context", "pred", "gt"]);
  t.regex(
    JSON.stringify(first),
    /system: You know where things are\.\\nuser: Where is the kettle\?/,
  );

  const other = join(folder, "other", "pairs.jsonl");
  await mkdir(join(folder, "other"));
  await writeFile(other, '{"text": "a"}\n');
  const refused = async (...more: readonly string[]): Promise<string> => {
    const { code, err } = await runHira(ckpt, "--max_new_tokens=3", ...more);
    t.is(code, 2, err);
    return err;
  };
  t.regex(
    await refused(`--dataset=${other}`),
    /found the answers to .*, expected those to .*other/,
  );
  const away = `--output_folder=${join(folder, "away")}`;
  t.regex(await refused(`--dataset=${other}`, away), /found fields text|found text alone/);
  t.regex(await refused(`--dataset=${path}`, away, "--max_length=2"), /a prompt of \d+ tokens/);
  t.regex(
    await refused(`--dataset=${path}`, away, "--scoring=loglik"),
    /found no answers to choose/,
  );
  t.false((await readdir(folder)).includes("away"));
});
