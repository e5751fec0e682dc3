import { mkdir, mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import test from "ava";
import { findAnswerFiles } from "../../src/score/answer-files.js";
import {
  averageScores,
  commonsenseNames,
  extractAnswer,
  scoreRows,
  type CommonsenseName,
} from "../../src/score/commonsense.js";
import { wilsonInterval } from "../../src/score/intervals.js";
import { writeScoreTables } from "../../src/score/score-csv.js";
import {
  commonsenseScore,
  groupRuns,
  scoreAnswers,
  type FileScore,
  type ScoreRequest,
} from "../../src/score/score-files.js";
import { setOfFileName } from "../../src/score/sets.js";

const scorer = new Set(["scorer"] as const);

const scoreFile = async (path: string, request: ScoreRequest = {}): Promise<FileScore> => {
  const score = commonsenseScore(await scoreAnswers(path, request), request.compat);
  if (!score) throw new TypeError("a file of another set");
  return score;
};

/** An evaluation file as hira and train_hira.py write it. */
const writeAnswers = async (
  path: string,
  rows: readonly (readonly [pred: string, gt: string])[],
  flags: object = { peft_type: "hira", dataset: "boolq" },
): Promise<string> => {
  const header = [
    flags,
    { peft_type: "LORA" },
    { mem_used: 1, train_seconds: -1 },
    { trainable: 1 },
  ];
  const lines = [...header, ...rows.map(([pred, gt]) => ({ context: "q", pred, gt }))];
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
  return path;
};

const temporaryFolder = (): Promise<string> => mkdtemp(join(tmpdir(), "hira-score-"));

const words: readonly (readonly [set: CommonsenseName, text: string, answer: string])[] = [
  ["boolq", "the correct answer is true", "true"],
  ["boolq", " untrue, then false", "true"],
  ["boolq", "True False", ""],
  ["boolq", "false true", "false"],
  ["piqa", "solution2 not solution1", "solution2"],
  ["piqa", "solution3 solution", ""],
  ["siqa", "answer5", "answer5"],
  ["siqa", "answer6", ""],
  ["siqa", "answer12", "answer1"],
  ["arce", "Answer1", ""],
  ["arcc", "answer4.", "answer4"],
  ["obqa", "\nanswer3\n", "answer3"],
  ["hellas", "ending5 ending4", "ending4"],
  ["winog", "option3option2", "option2"],
  ["winog", "", ""],
];
for (const [set, text, answer] of words) {
  test(`extractAnswer finds ${JSON.stringify(answer)} in ${JSON.stringify(text)} of ${set}`, (t) => {
    t.is(extractAnswer(set, text), answer);
  });
}

test("scoreRows counts a row without an answer as wrong, whatever its gt", (t) => {
  const rows = [
    { pred: "true", gt: "true" },
    { pred: "true", gt: "false" },
    { pred: "no idea", gt: "true" },
    { pred: "no idea", gt: "neither" },
    { pred: "true", gt: "neither" },
  ];
  t.like(scoreRows("boolq", rows), { rows: 5, right: 1, accuracy: 20, noAnswer: 40, noTruth: 2 });
});

test("scoreRows lets no answer equal no answer under compat scorer", (t) => {
  const rows = [
    { pred: "", gt: "neither" },
    { pred: "", gt: "true" },
  ];
  t.is(scoreRows("boolq", rows, scorer).right, 1);
  t.is(scoreRows("boolq", rows).right, 0);
});

test("wilsonInterval gives the p at which right / rows lies z standard errors away", (t) => {
  // The roots of (right / rows - p)^2 = z^2 p (1 - p) / rows, solved as a quadratic equation elsewhere.
  for (const [right, rows, low, high] of [
    [0, 10, 0, 27.75328],
    [10, 10, 72.24672, 100],
    [5, 10, 23.659309, 76.340691],
    [81, 263, 25.528852, 36.620958],
  ] as const) {
    const interval = wilsonInterval(right, rows);
    t.true(Math.abs(interval.low - low) < 1e-6, `${String(interval.low)} for ${String(low)}`);
    t.true(Math.abs(interval.high - high) < 1e-6, `${String(interval.high)} for ${String(high)}`);
  }
});

test("averageScores weighs each set the same and says over how many it is", (t) => {
  const all = scoreRows("boolq", [{ pred: "true", gt: "true" }]);
  const half = scoreRows(
    "boolq",
    Array.from({ length: 100 }, (_, i) => ({ pred: i % 2 === 0 ? "true" : "", gt: "true" })),
  );
  const average = averageScores([all, half]);
  t.is(average.accuracy, 75);
  t.is(average.sets, 2);
  t.true(average.interval.low < 75 && average.interval.high > 75);
});

test("averageScores counts a missing set as -1 under compat scorer", (t) => {
  const score = scoreRows("boolq", [{ pred: "true", gt: "true" }]);
  t.is(averageScores([score], scorer).accuracy, (100 - 7) / 8);
});

for (const [path, set] of [
  ["run/output_-1_boolq_beam=4_eval.jsonl", "boolq"],
  ["boolq-run/output_0_arcc_eval.jsonl", "arcc"],
  ["boolq-run/output.jsonl", undefined],
  ["piqa_and_siqa.jsonl", undefined],
] as const) {
  test(`setOfFileName reads ${String(set)} from ${path}`, (t) => {
    t.is(setOfFileName(path), set);
  });
}

test("scoreFile takes the set from the name, else from the flags on line 1, and what is given before both", async (t) => {
  const folder = await temporaryFolder();
  const rows = [["the answer is true", "true"]] as const;
  const named = await writeAnswers(join(folder, "output_-1_winog_eval.jsonl"), rows);
  t.like(await scoreFile(named), {
    set: "winog",
    model: join(folder, "output_-1__eval.jsonl"),
    score: { right: 0, noTruth: 1 },
  });
  t.like(await scoreFile(named, { set: "boolq" }), { set: "boolq", score: { right: 1 } });
  const unnamed = await writeAnswers(join(folder, "output.jsonl"), rows);
  t.like(await scoreFile(unnamed), { set: "boolq", model: unnamed, score: { right: 1 } });
});

test("scoreFile passes over every line without context, such as fft's text line and blank lines", async (t) => {
  const path = join(await temporaryFolder(), "boolq.jsonl");
  await writeFile(
    path,
    '{"dataset":"boolq"}\n"\\n"\n{"acc":1}\n\n{"context":"","pred":"true","gt":"true"}\n',
  );
  t.like((await scoreFile(path)).score, { rows: 1, right: 1 });
});

test("scoreFile names the line that is broken or lacks a text", async (t) => {
  const folder = await temporaryFolder();
  const path = join(folder, "boolq.jsonl");
  await writeFile(path, '{"dataset":"boolq"}\n{"context":"a","pred":\n');
  await t.throwsAsync(scoreFile(path), { name: "UserError", message: /boolq\.jsonl, line 2/ });
  await writeFile(path, '{"context":"a","pred":null,"gt":"true"}\n');
  await t.throwsAsync(scoreFile(path), { message: /line 1: found null in pred, expected text/ });
  await writeFile(path, '{"context":"a","pred":"true"}\n');
  await t.throwsAsync(scoreFile(path), { message: /line 1: found nothing in gt, expected text/ });
});

test("scoreFile refuses a file without rows, and one whose set nothing tells", async (t) => {
  const folder = await temporaryFolder();
  const empty = await writeAnswers(join(folder, "boolq.jsonl"), []);
  await t.throwsAsync(scoreFile(empty), {
    message: /found no rows, expected objects with context/,
  });
  const unknown = await writeAnswers(join(folder, "output.jsonl"), [["a", "b"]], {
    dataset: "common_170k",
  });
  const error = await t.throwsAsync(scoreFile(unknown), { message: /found no set in its name/ });
  t.like(error, { hint: "Say which with --dataset, or how to score it with --metric" });
});

test("findAnswerFiles looks into a folder and the folders right below it", async (t) => {
  const root = await temporaryFolder();
  const write = (name: string) => writeAnswers(join(root, name), [["true", "true"]]);
  const a = await write("a/output_-1_boolq_eval.jsonl");
  const b = await write("b/output_-1_piqa_eval.jsonl");
  const deeper = await write("b/deeper/output_-1_siqa_eval.jsonl");
  await write("b/output.jsonl");
  await write("metrics.jsonl");
  t.deepEqual(await findAnswerFiles([root]), [a, b]);
  t.deepEqual(await findAnswerFiles([b, join(root, "b"), `${root}/./a`]), [b, deeper, a]);
  t.deepEqual(await findAnswerFiles([join(root, "metrics.jsonl")]), [join(root, "metrics.jsonl")]);
});

test("findAnswerFiles names a path that is missing or a folder that has nothing to score", async (t) => {
  const root = await temporaryFolder();
  await t.throwsAsync(findAnswerFiles([root]), {
    message: /found no \.jsonl file named after one of boolq/,
  });
  await t.throwsAsync(findAnswerFiles([join(root, "no")]), {
    message: /Cannot score .*no: found no such file/,
  });
});

test("groupRuns puts the sets of one run together, and two ways of decoding apart", async (t) => {
  const root = await temporaryFolder();
  const write = (name: string) => writeAnswers(join(root, name), [["true", "true"]]);
  const files = [
    await write("output_-1_boolq_beam=4_eval.jsonl"),
    await write("output_-1_piqa_beam=4_eval.jsonl"),
    await write("output_0_boolq_beam=4_eval.jsonl"),
  ];
  const runs = groupRuns(await Promise.all(files.map((file) => scoreFile(file))));
  t.deepEqual(
    runs.map(({ sets }) => Object.keys(sets)),
    [["boolq", "piqa"], ["boolq"]],
  );
  t.is(runs[0]?.average.sets, 2);
});

test("writeScoreTables writes the tables of eval_commonsense.py", async (t) => {
  const root = await temporaryFolder();
  const file = await writeAnswers(
    join(root, "run", "output_-1_boolq_eval.jsonl"),
    [
      ["true", "true"],
      ["false", "true"],
      ["true", "true"],
    ],
    { model_name: 'a "b", c' },
  );
  const out = join(root, "tables");
  const files = [await scoreAnswers(file)];
  const model = join(root, "run", "output_-1__eval.jsonl");
  t.deepEqual(await writeScoreTables(files, out), [
    join(out, "results_boolq.csv"),
    join(out, "tables_results_all.csv"),
  ]);
  const table = await readFile(join(out, "results_boolq.csv"), "utf8");
  t.is(
    table,
    `\ufefffolder_name,acc,config\r\n${model},66.66666666666666,"[{""model_name"":""a \\""b\\"", c""},{""peft_type"":""LORA""}]"\r\n`,
  );
  t.is(
    await readFile(join(out, "tables_results_all.csv"), "utf8"),
    `model,boolq,piqa,siqa,arcc,arce,obqa,hellas,winog,avg\r\n${model},66.66666666666666,,,,,,,,66.66666666666666\r\n`,
  );
});

test("writeScoreTables fills missing sets with -1 under compat scorer", async (t) => {
  const root = await temporaryFolder();
  const file = await writeAnswers(join(root, "output_-1_boolq_eval.jsonl"), [["true", "true"]]);
  const files = [await scoreAnswers(file, { compat: scorer })];
  const written = await writeScoreTables(files, root, scorer);
  t.is(written.length, commonsenseNames.length + 1);
  const all = await readFile(written.at(-1) ?? "", "utf8");
  t.regex(all, /,100\.0,-1,-1,-1,-1,-1,-1,-1,11\.625\r\n$/);
});
