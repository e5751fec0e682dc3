import { join } from "node:path";
import { writeFile } from "node:fs/promises";
import test from "ava";
import { demoFolder } from "../../scripts/demo/paths.js";
import { makeFolder } from "../support/make-folder.js";
import { runHira } from "../support/run-hira.js";

const model = `--model=${demoFolder}`;

const long = (words: number): string => Array.from({ length: words }, () => "the").join(" ");

const row = (instruction: string, output = "true"): object => ({ instruction, output });

const questions = (from: number, to: number): readonly object[] =>
  Array.from({ length: to - from }, (_, i) => row(`question ${String(from + i)}`));

test("hira data check shows a set's lengths, cut and repeated rows, and exits 1 where a run would be wrong", async (t) => {
  const folder = await makeFolder(t, {
    "llm_adapt/boolq/train.json": JSON.stringify([
      ...questions(0, 8),
      row(long(400)),
      row("question 0"),
      row("no label", " "),
    ]),
    "llm_adapt/boolq/test.json": JSON.stringify([...questions(7, 9), ...questions(100, 102)]),
  });
  const { code, out, err } = await runHira("data", "check", "boolq", `--data_dir=${folder}`, model);
  t.is(code, 1, err);
  t.is(err, "");
  t.regex(out, /^boolq, lengths in tokens before cutting; rows are counted from 1\n/);
  t.regex(out, /^train +11\n {2}context +[\d.]+ +\d+ /m);
  t.regex(out, /^train: 1 \(9\.1%\) rows that repeat an earlier one\n {2}row 10$/m);
  t.regex(out, /^validation and test are the same rows: /m);
  t.regex(out, /^ {2}by length +\d+% of \d+ columns$/m);
  t.regex(
    out,
    /^wrong: train: 1 \(9\.1%\) rows without a label: training refuses them\n {2}row 11$/m,
  );
  t.regex(
    out,
    /^wrong: train: 1 \(9\.1%\) contexts over 256 tokens, cut at their text's end\n {2}row 9$/m,
  );
  t.regex(out, /^wrong: test: 1 \(25\.0%\) contexts that train has too\n {2}row 1$/m);
  t.notRegex(out, /nothing wrong/);
  for (const line of out.split("\n")) t.true(line.length <= 80, line);

  const json = await runHira("data", "check", "boolq", "--json", `--data_dir=${folder}`, model);
  t.is(json.code, 1);
  const [data] = JSON.parse(json.out) as readonly {
    readonly name: string;
    readonly isWrong: boolean;
    readonly validationIsTest: boolean;
    readonly findings: readonly { readonly kind: string; readonly rows: readonly number[] }[];
  }[];
  t.is(data?.name, "boolq");
  t.true(data?.isWrong);
  t.true(data?.validationIsTest);
  t.deepEqual(data?.findings.find(({ kind }) => kind === "unlabelled")?.rows, [11]);
});

test("hira data check finds nothing wrong with the demo's eight sets, and says so", async (t) => {
  const { code, out, err } = await runHira(
    ...["data", "check", "common_all", `--data_dir=${demoFolder}`, model],
  );
  t.is(code, 0, `${err}${out}`);
  t.is(out.match(/^nothing wrong was found$/gm)?.length, 8);
});

test("hira data check without a model compares texts, and names what is missing", async (t) => {
  const folder = await makeFolder(t, {
    "llm_adapt/commonsense_170k/train.json": JSON.stringify(questions(0, 5)),
    "llm_adapt/commonsense_170k/test.json": JSON.stringify(questions(5, 7)),
  });
  const { code, out } = await runHira("data", "check", "common_170k", `--data_dir=${folder}`);
  t.is(code, 1);
  t.regex(out, /^common_170k, without lengths: --model names a tokenizer/);
  t.regex(out, /^wrong: Cannot find the validation rows in\s/m);
  const none = await runHira("data", "check", "piqa", `--data_dir=${folder}`);
  t.is(none.code, 2);
  t.regex(none.err, /Cannot find the train rows in .*piqa/);
});

test("hira data check reads files of token ids, beside their validation rows", async (t) => {
  const ids = (...all: readonly number[]): string =>
    JSON.stringify({ input_ids: all, labels: all.map((id, i) => (i < 2 ? -100 : id)) });
  const folder = await makeFolder(t, {
    "rows.jsonl": [ids(1, 2, 3), ids(1, 5, 6, 7), ids(1, 2, 3)].join("\n"),
    "held.jsonl": [ids(1, 2, 4), ids(1, 9, 3)].join("\n"),
  });
  const path = join(folder, "rows.jsonl");
  const { code, out, err } = await runHira(
    ...["data", "check", path, `--validation=${join(folder, "held.jsonl")}`, "--batch=2"],
  );
  t.is(code, 1, err);
  t.regex(out, /^train: 1 \(33\.3%\) rows that repeat an earlier one\n {2}row 3$/m);
  t.regex(out, /^wrong: validation: 1 \(50\.0%\) contexts that train has too\n {2}row 1$/m);
  t.regex(out, /at batch 2\n {2}by length/);
  const large = await makeFolder(t, { "rows.jsonl": ids(1, 2, 999_999) });
  const unknown = await runHira("data", "check", join(large, "rows.jsonl"), model);
  t.is(unknown.code, 2);
  t.regex(unknown.err, /found 999999 in input_ids\[2\]/);
});

test("hira data check looks at a person's own texts and chats, with the flags of training", async (t) => {
  const chat = (thing: string, answer = `The ${thing} is here.`): object => ({
    messages: [
      { role: "user", content: `Where is the ${thing}?` },
      { role: "assistant", content: answer },
    ],
  });
  const lines = (rows: readonly object[]): string =>
    rows.map((one) => JSON.stringify(one)).join("\n");
  const folder = await makeFolder(t, {
    "chats.jsonl": lines([
      ...[chat("cat"), chat("dog"), chat("cat"), chat("dog", "Gone.")],
      chat("bird", long(60)),
    ]),
    "held.jsonl": lines([chat("cow"), chat("cat", "Away.")]),
    "pairs.jsonl": lines([
      { ask: long(50), said: "yes", more: "x" },
      { ask: "b", said: "no", more: "x" },
    ]),
    "texts.jsonl": lines([{ text: long(70) }, { text: "a b c" }, { text: "a b c" }]),
  });
  const check = (name: string, ...more: readonly string[]) =>
    runHira("data", "check", join(folder, name), ...more);
  const held = `--validation=${join(folder, "held.jsonl")}`;
  const chats = await check("chats.jsonl", held, "--template=chatml", "--max_length=60", model);
  t.is(chats.code, 1, chats.err);
  t.regex(chats.out, /5 rows of chats\s+\(messages\), written by\s+chatml/);
  t.regex(chats.out, /^train: 1 \(20\.0%\) rows that repeat an earlier one\n {2}row 3$/m);
  t.regex(chats.out, /rows with an earlier row's context and another\s+target\n {2}row 4$/m);
  t.regex(chats.out, /^wrong: train: 1 \(20\.0%\) rows over 60 tokens, cut: [^]*?\n {2}row 5$/m);
  t.regex(chats.out, /^wrong: validation: 1 \(50\.0%\) contexts that train has too\n {2}row 2$/m);

  const pairs = await check(
    "pairs.jsonl",
    ...["--prompt_field=ask", "--target_field=said", "--max_length=20", model],
  );
  t.is(pairs.code, 1);
  t.regex(pairs.out, /^wrong: train: 1 \(50\.0%\) rows without a label[^]*?\n {2}row 1$/m);

  const texts = await check("texts.jsonl", "--validation=0.5", "--max_length=50", model);
  t.is(texts.code, 1, texts.err);
  t.regex(texts.out, /1 held\s+out for validation, 2 to train on/);
  t.regex(texts.out, /texts over 50 tokens, which go on in further\s+rows\n {2}row 1$/m);
  t.regex(texts.out, /^wrong: validation: 1 \(100\.0%\) texts that train has too\n {2}row [23]$/m);

  const without = await check("chats.jsonl");
  t.is(without.code, 0, without.err);
  t.regex(without.out, /without lengths/);
  for (const [words, message] of [
    [["chats.jsonl", "--template=chatml"], /Cannot use --template: found no model/],
    [["chats.jsonl", model], /found no chat template/],
    [["pairs.jsonl"], /found fields ask, said, more/],
  ] as const) {
    const { code, err } = await check(words[0], ...words.slice(1));
    t.is(code, 2);
    t.regex(err, message);
  }
});

test("hira data check looks at WikiText-2 in blocks, and refuses flags that a set does not read", async (t) => {
  const folder = await makeFolder(t, {
    "wikitext-2/wiki.train.tokens": ` ${long(300)} \n = A = \n`,
    "wikitext-2/wiki.valid.tokens": " = B = \n some text \n",
  });
  const flags = [model, `--data_dir=${folder}`, "--block_size=64"];
  const { code, out, err } = await runHira("data", "check", "wikitext2", ...flags);
  t.is(code, 1, err);
  t.regex(out, /running text in blocks of 64 tokens\n/);
  t.regex(out, /^wrong: Cannot find the test text of wikitext2/m);
  for (const [words, message] of [
    [["wikitext2", `--data_dir=${folder}`], /Cannot check wikitext2 without --model/],
    [["boolq", "--template=qa"], /Cannot use --template: found the set boolq/],
    [["boolq", "--validation=0.1"], /Cannot use --validation: found the set boolq/],
  ] as const) {
    const refused = await runHira("data", "check", ...words);
    t.is(refused.code, 2);
    t.regex(refused.err, message);
  }
});

test("hira data check reads a run's flags out of its folder, and the line's count before them", async (t) => {
  const data = await makeFolder(t, {
    "llm_adapt/boolq/train.json": JSON.stringify(questions(0, 4)),
    "llm_adapt/boolq/test.json": JSON.stringify(questions(4, 6)),
  });
  const run = await makeFolder(t, {
    "config.yaml": [
      "dataset: boolq",
      "batch: 3",
      `model_name: ${demoFolder}`,
      `data_dir: ${data}`,
      "use_input: false",
      "lr: 1e-3",
      "",
    ].join("\n"),
  });
  const folder = await runHira("data", "check", run);
  t.is(folder.code, 0, folder.err);
  t.regex(folder.out, /at batch 3\n/);
  t.regex(folder.out, /^boolq, lengths in tokens/);
  const file = await runHira("data", "check", join(run, "config.yaml"), "--batch=2");
  t.regex(file.out, /at batch 2\n/);
  await writeFile(join(run, "config.yaml"), "dataset: boolq\nbatch: many\n");
  const broken = await runHira("data", "check", run);
  t.is(broken.code, 2);
  t.regex(broken.err, /batch \(.*config\.yaml, line 2\): found "many", expected a whole number/);
});

test("hira data check refuses what is neither set, file nor run", async (t) => {
  const folder = await makeFolder(t, { "a.txt": "" });
  for (const [words, message] of [
    [["bolq"], /Cannot check bolq: found no such set, file or run, .*\n {2}Did you mean "boolq"\?/],
    [[folder], /found a folder that is no run \(it has no config\.yaml\)/],
    [[], /Cannot check nothing: expected a set, a file of rows or a run/],
    [["boolq", "--compat=non"], /--compat: found "non"/],
  ] as const) {
    const { code, err } = await runHira("data", "check", ...words);
    t.is(code, 2);
    t.regex(err, message);
  }
});
