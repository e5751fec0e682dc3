import { mkdir, mkdtemp, readdir, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import test from "ava";
import { commonsenseNames, commonsenseSets } from "../../src/score/commonsense.js";
import { runMain } from "./support.js";

/** A folder of runs; in each, of every named set the first `right` of 100 rows are right. */
const writeRuns = async (
  runs: Readonly<Record<string, Partial<Record<keyof typeof commonsenseSets, number>>>>,
): Promise<string> => {
  const root = await mkdtemp(join(tmpdir(), "hira-score-command-"));
  for (const [run, sets] of Object.entries(runs)) {
    await mkdir(join(root, run));
    for (const name of commonsenseNames) {
      const right = sets[name];
      if (right === undefined) continue;
      const [word = "", other = ""] = commonsenseSets[name].words;
      const rows = Array.from({ length: 100 }, (_, i) =>
        JSON.stringify({ context: "", pred: i < right ? word : i === 99 ? "" : other, gt: word }),
      );
      await writeFile(
        join(root, run, `output_-1_${name}_beam=4_eval.jsonl`),
        `{}\n${rows.join("\n")}\n`,
      );
    }
  }
  return root;
};

const eight = {
  boolq: 60,
  piqa: 70,
  siqa: 50,
  hellas: 90,
  winog: 80,
  arce: 75,
  arcc: 65,
  obqa: 50,
};

test("hira score prints one run as a line a set in the paper's order, with the average", async (t) => {
  const root = await writeRuns({ run: eight });
  const { code, stdout } = await runMain(["score", join(root, "run")]);
  t.is(code, 0);
  t.is(
    stdout,
    [
      "run",
      "output_-1_*_beam=4_eval.jsonl",
      "",
      "set      accuracy  95 % interval  no answer  right  rows",
      "────────────────────────────────────────────────────────",
      "BoolQ       60.00  50.20 – 69.06       1.00     60   100",
      "PIQA        70.00  60.42 – 78.11       1.00     70   100",
      "SIQA        50.00  40.38 – 59.62       1.00     50   100",
      "HellaS      90.00  82.56 – 94.48       1.00     90   100",
      "WinoG       80.00  71.12 – 86.66       1.00     80   100",
      "ARC-e       75.00  65.70 – 82.45       1.00     75   100",
      "ARC-c       65.00  55.25 – 73.64       1.00     65   100",
      "OBQA        50.00  40.38 – 59.62       1.00     50   100",
      "average     67.50  64.42 – 70.58       1.00          800",
      "",
    ].join("\n"),
  );
});

test("hira score prints several runs as a row each, within 80 columns, with names below that do not fit", async (t) => {
  const long =
    "Meta-Llama-3-8B-common_170k-hira-lr=1.00e-03-r_ab=32-init=kz-train=yy-seed=36--2026-01-09";
  const root = await writeRuns({ [long]: eight, other: { boolq: 40, piqa: 50 } });
  const { stdout } = await runMain(["score", root]);
  const lines = stdout.split("\n");
  t.true(lines.every((line) => line.length <= 80));
  t.regex(
    lines[2] ?? "",
    /^1 +60\.00 +70\.00 +50\.00 +90\.00 +80\.00 +75\.00 +65\.00 +50\.00 +67\.50 +1\.00$/,
  );
  t.regex(lines[4] ?? "", /^2 +40\.00 +50\.00( +-){6} +45\.00\* +1\.00$/);
  t.true(stdout.replaceAll("\n     ", "").includes(`\n1  ${long}\n`));
  t.regex(stdout, /\* over the sets that are there/);
});

test("hira score names runs in the table where they fit", async (t) => {
  const root = await writeRuns({ a: eight, b: eight });
  const { stdout } = await runMain(["score", root]);
  t.regex(stdout, /\na {4}60\.00/);
});

test("hira score --json prints every number", async (t) => {
  const root = await writeRuns({ run: { boolq: 60 } });
  const { stdout } = await runMain(["score", root, "--json"]);
  const [run] = JSON.parse(stdout) as { sets: object; average: object }[];
  t.like(run, {
    sets: { boolq: { rows: 100, right: 60, accuracy: 60 } },
    average: { accuracy: 60, sets: 1 },
  });
});

test("hira score --csv writes the original's tables into the scored folder, or into --out", async (t) => {
  const root = await writeRuns({ run: eight });
  const { code, stderr } = await runMain(["score", join(root, "run"), "--csv"]);
  t.is(code, 0);
  t.regex(stderr, /^wrote 9 tables: /);
  const written = (await readdir(join(root, "run"))).filter((name) => name.endsWith(".csv"));
  t.is(written.length, 9);
  t.true(written.includes("run_results_all.csv"));
  const out = join(root, "out");
  await runMain(["score", join(root, "run"), "--csv", "--out", out]);
  t.true((await readdir(out)).includes("out_results_all.csv"));
});

test("hira score warns of rows whose gt has no answer of the set", async (t) => {
  const root = await mkdtemp(join(tmpdir(), "hira-score-command-"));
  const path = join(root, "boolq.jsonl");
  await writeFile(path, '{"context":"","pred":"true","gt":"answer1"}\n');
  t.regex(
    (await runMain(["score", path])).stdout,
    /! .*boolq\.jsonl: 1 rows whose gt has no answer/,
  );
  const compat = await runMain(["score", path, "--compat=scorer", "--json"]);
  t.is(
    (JSON.parse(compat.stdout) as { average: { accuracy: number } }[])[0]?.average.accuracy,
    -0.875,
  );
});

/** A run's folder with output.jsonl of a set, a row for each pair of pred and gt. */
const writeAnswers = async (
  dataset: string,
  pairs: readonly (readonly [pred: string, gt: string])[],
): Promise<string> => {
  const root = await mkdtemp(join(tmpdir(), "hira-score-command-"));
  const rows = pairs.map(([pred, gt], i) => ({ context: `question ${String(i)}`, pred, gt }));
  const lines = [{ dataset }, {}, {}, {}, ...rows].map((line) => `${JSON.stringify(line)}\n`);
  await writeFile(join(root, "output.jsonl"), lines.join(""));
  return root;
};

const talk = [
  ["i like dogs a lot", "i like dogs"],
  ["hello there Q: no", "hello there"],
  ["", "what do you do ?"],
] as const;

test("hira score prints a line a figure of free text, and says in words what is not computed", async (t) => {
  const { code, stdout } = await runMain(["score", await writeAnswers("convai2", talk)]);
  t.is(code, 0);
  t.regex(stdout, /\nconvai2, 3 rows\n/);
  t.regex(stdout, /\nfigure +value +95 % interval\n/);
  t.regex(stdout, /\nf1 +58\.33 +0\.00 – 100\.00\n/);
  t.regex(
    stdout,
    /bert f1, BERT Recall, BERT Precision: not computed, BERTScore needs an\s+encoder/,
  );
  t.regex(stdout, /rows with an empty prediction: 1/);
});

test("hira score --json names figures as the original's CSV does, null where there is none", async (t) => {
  const { stdout } = await runMain(["score", await writeAnswers("convai2", talk), "--json"]);
  const [file] = JSON.parse(stdout) as Record<string, Record<string, unknown>>[];
  t.deepEqual(Object.keys(file?.["figures"] ?? {}).sort(), [
    ...["BERT Precision", "BERT Recall", "bert f1", "bleu", "bleu1", "bleu2", "bleu3", "bleu4"],
    ...["dist1", "dist2", "f1", "meteor", "rouge1", "rouge2", "rougel"],
  ]);
  t.is(file?.["figures"]?.["bert f1"], null);
  t.regex(String(file?.["not_computed"]?.["bert f1"]), /needs an encoder/);
});

test("hira score --csv writes convai2_eval.py's and metamath_eval.py's tables", async (t) => {
  const root = await writeAnswers("convai2", talk);
  await runMain(["score", root, "--csv"]);
  const table = await readFile(join(root, "results.csv"), "utf8");
  t.regex(
    table,
    /^\ufefffolder_name,bleu,meteor,rougel,bleu1,bleu2,bleu3,bleu4,rouge1,rouge2,bert f1,BERT Recall,BERT Precision,f1,dist1,dist2,config\r\n/,
  );
  t.true(table.includes(`\n${basename(root)}output.jsonl,`));
  const solved = await writeAnswers("meta_math", [["The answer is: 1,200", "The answer is: 1200"]]);
  await runMain(["score", solved, "--csv"]);
  t.regex(
    await readFile(join(solved, "results_gsm8k.csv"), "utf8"),
    /^\ufefffolder_name,acc,new acc,config\r\n.*,100\.0,100\.0,/,
  );
  t.regex(
    await readFile(join(solved, "results_all.csv"), "utf8"),
    /^model,gsm8k\r\n.*,100\.0\r\n$/,
  );
});

test("hira score --against tests two runs on the same rows, figure by figure", async (t) => {
  const pairs = (right: number) =>
    Array.from({ length: 20 }, (_, i) => [i < right ? "true" : "false", "true"] as const);
  const [a, b] = [await writeAnswers("boolq", pairs(15)), await writeAnswers("boolq", pairs(9))];
  const { code, stdout } = await runMain(["score", a, `--against=${b}`]);
  t.is(code, 0);
  t.regex(
    stdout,
    /accuracy +75\.00 +45\.00 +\+30\.00 +\+\d+\.\d\d – \+\d+\.\d\d +0\.0313 +McNemar/,
  );
  const json = await runMain(["score", a, `--against=${b}`, "--json"]);
  const [first] = JSON.parse(json.stdout) as { figures: Record<string, unknown> }[];
  t.like(first?.figures["acc"], { first: 75, second: 45, difference: 30 });
});

test("hira score --against refuses other rows, and sets that only one side has", async (t) => {
  const a = await writeAnswers("boolq", [
    ["true", "true"],
    ["true", "false"],
  ]);
  const b = await writeAnswers("boolq", [
    ["true", "true"],
    ["true", "true"],
  ]);
  const other = await runMain(["score", a, `--against=${b}`]);
  t.is(other.code, 2);
  t.regex(other.stderr, /Cannot compare two runs: .*found another context or gt in row 2 than/s);
  const c = await writeAnswers("piqa", [["solution1", "solution1"]]);
  const none = await runMain(["score", a, `--against=${c}`]);
  t.regex(none.stderr, /found answers to boolq and to piqa, expected one set/);
});

test("hira score --metric scores any file, whatever its set", async (t) => {
  const root = await writeAnswers("boolq", talk);
  const { stdout } = await runMain(["score", root, "--metric=rouge", "--json"]);
  const [file] = JSON.parse(stdout) as { scorer: string; figures: object }[];
  t.is(file?.scorer, "rouge");
  t.deepEqual(Object.keys(file?.figures ?? {}), ["rouge1", "rouge2", "rougel"]);
});

for (const [argv, message] of [
  [["score"], /^error: Cannot score nothing: found no file, expected evaluation files/],
  [["score", "no/such"], /^error: Cannot score no\/such: found no such file/],
  [["score", "x", "--dataset=common_170k"], /--dataset: found "common_170k", expected boolq, piqa/],
  [["score", "x", "--out=y"], /--out: found no --csv, expected one beside it/],
] as const) {
  test(`hira ${argv.join(" ")} exits 2 and says why`, async (t) => {
    const { code, stderr, stdout } = await runMain(argv);
    t.is(code, 2);
    t.is(stdout, "");
    t.regex(stderr, message);
  });
}
