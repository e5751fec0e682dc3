import { gzipSync } from "node:zlib";
import test from "ava";
import { UserError } from "../../src/core/errors.js";
import { rowsOfDialogue } from "../../src/datasets/dailydialog.js";
import { loadSplit } from "../../src/datasets/load-split.js";
import { gsm8kSolution } from "../../src/datasets/math.js";
import { findSingleDataset } from "../../src/datasets/registry.js";
import type { Split } from "../../src/datasets/rows.js";
import { makeFolder } from "../support/make-folder.js";
import { testWithShared } from "../support/shared.js";

const lines = (...rows: readonly unknown[]): string =>
  rows.map((row) => JSON.stringify(row)).join("\n");

test("convai2 reads ParlAI's text: a row a turn, with facts, turns and marks", async (t) => {
  const text = [
    "1 your persona: i sail.",
    "2 partner's persona: i knit.",
    "3 your persona: i am old.",
    "4 hello\thi there .\t\tyes|no|hi there .",
    "5 what now ?\ti sail .",
    "1 hey\thello : you",
    "",
  ].join("\n");
  const root = await makeFolder(t, { "convai2/valid_self_original_no_cands.txt": text });
  const dataset = findSingleDataset("convai2");
  for (const split of ["validation", "test"] as const) {
    const loaded = await loadSplit(dataset, split, { root });
    t.deepEqual(loaded.rows, [
      { context: "P: i sail. i am old. Q: hello R: ", target: "hi there ." },
      {
        context: "P: i sail. i am old. Q: hello R: hi there . Q: what now ? R: ",
        target: "i sail .",
      },
      { context: "Q: hey R: ", target: "hello : you" },
    ]);
    t.deepEqual(loaded.records, { count: 2, ofRow: [0, 0, 1] });
    // What serves twice chooses the checkpoint whose answers it then scores.
    if (split === "test") t.is(loaded.warning, undefined);
    else
      t.regex(
        loaded.warning ?? "",
        /^convai2 has no test rows of its own: .*no_cands\.txt serves as validation and as test/,
      );
  }
  await t.throwsAsync(loadSplit(dataset, "train", { root }), {
    message: /Cannot find the train rows in .*train\.txt, .*train_self_original_no_cands with one/,
  });
});

test("convai2 says which lines of ParlAI's text are not so, and reads the authors' rows where both are there", async (t) => {
  const text = "1 your persona: i sail.\n1 hello\thi\nhello\n2 no reply\n";
  const root = await makeFolder(t, {
    "convai2/train.json": lines({ instruction: "P: a Q: b R: ", output: " c " }),
    "convai2/train_self_original.txt": text,
    "convai2/validation.txt": text,
    "convai2/test.txt": "\n",
  });
  const dataset = findSingleDataset("convai2");
  t.deepEqual((await loadSplit(dataset, "train", { root })).rows, [
    { context: "P: a Q: b R: ", target: "c" },
  ]);
  const error = await t.throwsAsync(loadSplit(dataset, "validation", { root }), {
    instanceOf: UserError,
  });
  t.regex(error?.message ?? "", /line 1: found a dialogue without a turn/);
  t.regex(error?.message ?? "", /line 3: found no number at its start/);
  t.regex(error?.message ?? "", /line 4: found no reply, expected a turn, a tab and its reply/);
  await t.throwsAsync(loadSplit(dataset, "test", { root }), { message: /found no dialogue/ });
});

test("meta_math reads the original's fields and MetaMathQA's own", async (t) => {
  const root = await makeFolder(t, {
    "meta_math/train.json": lines({ query: " q ", response: " r\n", type: "x" }),
    "meta_math/test.json": lines({ sQuestion: "q", lSolutions: "r" }),
    "meta_math/validation.json": lines({ prompt: "q", text: "r" }),
  });
  const dataset = findSingleDataset("meta_math");
  t.deepEqual((await loadSplit(dataset, "train", { root })).rows, [
    { context: " q ", target: "r" },
  ]);
  t.deepEqual((await loadSplit(dataset, "test", { root })).rows, [{ context: "q", target: "r" }]);
  await t.throwsAsync(loadSplit(dataset, "validation", { root }), {
    instanceOf: UserError,
    message:
      /line 1: found fields prompt, text, expected those of one of these forms\n {4}sQuestion and lSolutions\n {4}query and response$/,
  });
});

test("gsm8k reads LLM-Adapters' rows and its own, whose calculator marks go", async (t) => {
  const answer = "It is 4 / 2 = <<4/2=2>>2.\n#### 2";
  const root = await makeFolder(t, {
    "llm_adapt/gsm8k/train.jsonl": lines({ question: "How many?", answer }),
    "llm_adapt/gsm8k/test.json": lines({ instruction: "i", input: "", output: "o", answer: "2.0" }),
  });
  const dataset = findSingleDataset("gsm8k");
  t.deepEqual((await loadSplit(dataset, "train", { root })).rows, [
    { context: "How many?", target: "It is 4 / 2 = 2.\n#### 2\nThe answer is: 2" },
  ]);
  t.deepEqual((await loadSplit(dataset, "test", { root })).rows, [{ context: "i", target: "o" }]);
  t.is(gsm8kSolution("no number"), "no number");
  t.is(gsm8kSolution("a\n#### 1,234"), "a\n#### 1,234\nThe answer is: 1,234");
});

test("an input is kept where the template has a place for it, and refused where it has none", async (t) => {
  const row = { instruction: "i", input: "in", output: "o" };
  const root = await makeFolder(t, {
    "llm_adapt/gsm8k/test.json": lines(row),
    "convai2/test.json": lines({ ...row, input: "" }, row),
  });
  const gsm8k = findSingleDataset("gsm8k");
  t.deepEqual((await loadSplit(gsm8k, "test", { root })).droppedInputs, [0]);
  t.deepEqual((await loadSplit(gsm8k, "test", { root, useInput: true })).rows, [
    { context: "i", input: "in", target: "o" },
  ]);
  const convai2 = findSingleDataset("convai2");
  t.deepEqual((await loadSplit(convai2, "test", { root })).droppedInputs, [1]);
  await t.throwsAsync(loadSplit(convai2, "test", { root, useInput: true }), {
    instanceOf: UserError,
    message:
      /Cannot use the input of .*: found one in row 2, expected none, since the set's template/,
  });
});

test("samsum reads val.json as validation, keeps empty dialogues and says so", async (t) => {
  const root = await makeFolder(t, {
    "samsum/val.json": lines(
      { id: "1", dialogue: "A: hi\r\nA: there", summary: "A greets. " },
      { id: "2", dialogue: "", summary: "Nobody spoke." },
    ),
  });
  const loaded = await loadSplit(findSingleDataset("samsum"), "validation", { root });
  t.deepEqual(loaded.rows, [
    { context: "A: hi\r\nA: there", target: "A greets." },
    { context: "", target: "Nobody spoke." },
  ]);
  t.deepEqual(loaded.remarks, ["1 dialogues are empty (row 2)"]);
});

test("e2e reads the authors' CSV, with quotes, commas and line ends in fields", async (t) => {
  const csv = '\ufeffmr,ref\r\n"name[A], area[b]","A is ""in""\nb."\r\n\r\nname[C],C.\r\n';
  const root = await makeFolder(t, {
    "e2e/trainset.csv": csv,
    "e2e_nlg_cleaned/test.csv.gz": gzipSync(csv),
    "e2e/devset.csv": 'mr,ref\n"a\nb",c\n\nd,e,f\n',
    "e2e/testset_w_refs.csv": "orig_mr,ref\na,b\n",
  });
  const rows = [
    { context: "name[A], area[b]", target: 'A is "in"\nb.' },
    { context: "name[C]", target: "C." },
  ];
  const dataset = findSingleDataset("e2e_nlg");
  t.deepEqual((await loadSplit(dataset, "train", { root })).rows, rows);
  t.deepEqual((await loadSplit(findSingleDataset("e2e_cleaned"), "test", { root })).rows, rows);
  await t.throwsAsync(loadSplit(dataset, "validation", { root }), {
    message: /devset\.csv, line 5: found 3 fields, expected as many as the first line has names/,
  });
  await t.throwsAsync(loadSplit(dataset, "test", { root }), {
    message:
      /line 2: found fields orig_mr, ref, expected those of one of these forms\n {4}meaning_representation and human_reference\n {4}mr and ref$/,
  });
});

test("dailydialog marks the utterances back from the target", async (t) => {
  t.deepEqual(rowsOfDialogue(["a ", " b", "c", "d "]), [
    { context: "Q: a", target: "b" },
    { context: "R: a Q: b", target: "c" },
    { context: "Q: a R: b Q: c", target: "d" },
  ]);
  const root = await makeFolder(t, {
    "dailydialog/train.jsonl": lines(
      { dialog: ["a", "b", "c"] },
      { dialog: ["d", "e"] },
      { dialog: ["f", "g"] },
    ),
  });
  const dataset = findSingleDataset("dailydialog");
  const whole = await loadSplit(dataset, "train", { root });
  t.deepEqual(whole.records, { count: 3, ofRow: [0, 0, 1, 2] });
  // The ratio is one of dialogues, as the original's.
  t.is((await loadSplit(dataset, "train", { root, ratio: 0.67 })).rows.length, 3);
  t.is((await loadSplit(dataset, "train", { root, ratio: 0.34 })).rows.length, 2);
});

test("dailydialog refuses dialogues that give no row, all of them at once", async (t) => {
  const root = await makeFolder(t, {
    "dailydialog/test.json": lines(
      { dialog: [] },
      { dialog: ["alone"] },
      { dialog: "a __eou__ b" },
      { dialog: ["a", 5] },
      { dialog: ["a", " "] },
      { act: [1] },
      { dialog: ["a", "b"] },
    ),
  });
  const error = await t.throwsAsync(loadSplit(findSingleDataset("dailydialog"), "test", { root }), {
    instanceOf: UserError,
  });
  for (const fault of [
    /line 1: found an empty dialog, expected at least two utterances/,
    /line 2: found a dialog of one utterance/,
    /line 3: found .* in dialog, expected an array/,
    /line 4: found a number in dialog\[1\], expected text/,
    /line 5: found nothing in dialog\[1\], expected an utterance/,
    /line 6: found fields act, expected dialog among them/,
  ])
    t.regex(error?.message ?? "", fault);
});

test("mmlu makes a prompt of a question and takes letters, numbers and ready-made rows", async (t) => {
  const question = {
    subject: "abstract_algebra",
    question: "2 + 2?",
    choices: ["1", "2", "3", "4"],
  };
  const root = await makeFolder(t, {
    "mmlu/dev.jsonl": lines({ ...question, answer: "D" }, { ...question, answer: 3 }),
    "mmlu/test.json": lines({ instruction: "Which? Answer:", output: "B" }),
    "mmlu/validation.json": lines(
      { ...question, answer: 4 },
      { ...question, answer: "E" },
      { ...question, choices: ["1"], answer: "A" },
      { ...question, question: 7, answer: "A" },
    ),
  });
  const dataset = findSingleDataset("mmlu");
  const row = {
    context:
      "The following are multiple choice questions (with answers) about abstract algebra.\n\n2 + 2?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:",
    target: "D",
  };
  t.deepEqual((await loadSplit(dataset, "train", { root })).rows, [row, row]);
  t.deepEqual((await loadSplit(dataset, "test", { root })).rows, [
    { context: "Which? Answer:", target: "B" },
  ]);
  const error = await t.throwsAsync(loadSplit(dataset, "validation", { root }), {
    instanceOf: UserError,
  });
  for (const fault of [
    /line 1: found 4 in answer, expected A, B, C, D, or a number from 0 to 3/,
    /line 2: found "E" in answer/,
    /line 3: found 1 choices, expected four/,
    /line 4: found a number in question, expected text/,
  ])
    t.regex(error?.message ?? "", fault);
});

testWithShared(
  "every set of the original reads its real files, with the manifest's counts",
  "data/data_file",
  async (t, root) => {
    // Rows, and where a row is not a record of the file, the file's records.
    const counts: Readonly<Record<string, Partial<Record<Split, readonly number[]>>>> = {
      convai2: { train: [7316], validation: [200], test: [7801] },
      meta_math: { train: [7353], validation: [120], test: [1319] },
      gsm8k: { train: [7473], validation: [1319], test: [1319] },
      samsum: { train: [14732], validation: [818], test: [819] },
      e2e_nlg: { train: [42061], validation: [4672], test: [4693] },
      e2e_cleaned: { validation: [4299], test: [4693] },
      dailydialog: { train: [76053, 11118], validation: [7069, 1000], test: [6740, 1000] },
      mmlu: { train: [285], validation: [1531], test: [14042] },
    };
    for (const [name, bySplit] of Object.entries(counts))
      for (const [split, expected] of Object.entries(bySplit)) {
        const loaded = await loadSplit(findSingleDataset(name), split as Split, { root });
        const { records } = loaded;
        t.deepEqual([loaded.rows.length, ...(records ? [records.count] : [])], [...expected]);
      }
  },
);

testWithShared(
  "ParlAI's text gives the rows that the authors' form of it has",
  "data/data_file/convai2",
  async (t, folder) => {
    const { readFile } = await import("node:fs/promises");
    const text = await readFile(`${folder}/valid_self_original_no_cands.txt`);
    const root = await makeFolder(t, { "convai2/valid_self_original_no_cands.txt": text });
    const dataset = findSingleDataset("convai2");
    const fromText = await loadSplit(dataset, "test", { root });
    const ready = await loadSplit(dataset, "test", { root: `${folder}/..` });
    t.is(fromText.records?.count, 1000);
    t.deepEqual(fromText.rows, ready.rows);
  },
);
