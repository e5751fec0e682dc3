import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { demoFolder } from "../../scripts/demo/paths.js";
import { readOutputJsonl } from "../../src/report/output-jsonl.js";
import { makeFolder } from "../support/make-folder.js";
import { runHira } from "../support/run-hira.js";
import { sharedPath } from "../support/shared.js";

const real = sharedPath("data/data_file");

const rowsOf = (count: number, row: (i: number) => unknown): string =>
  Array.from({ length: count }, (_, i) => JSON.stringify(row(i))).join("\n");

const instruction = (i: number) => ({
  instruction: `Is ${String(i)} even?`,
  output: `It is ${String(i)}.`,
});
const meaning = (i: number) => ({ mr: `name[N${String(i)}]`, ref: `This is N${String(i)}.` });
const csvOf = (rows: readonly { readonly mr: string; readonly ref: string }[]): string =>
  ["mr,ref", ...rows.map(({ mr, ref }) => `"${mr}","${ref}"`)].join("\n");
const ten = Array.from({ length: 10 }, (_, i) => meaning(i));

/** Made-up files of each set, in a form in which it is published. */
const madeUp: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  convai2: {
    "convai2/train_self_original_no_cands.txt":
      "1 your persona: i sail.\n2 hello\thi\n3 what now ?\ti sail\n".repeat(5),
    "convai2/valid_self_original_no_cands.txt":
      "1 your persona: i knit.\n2 hello\tgood day\n".repeat(3),
  },
  meta_math: {
    "meta_math/train.json": rowsOf(10, (i) => ({
      query: `What is ${String(i)} + 1?`,
      response: `The answer is: ${String(i + 1)}`,
    })),
    "meta_math/test.json": rowsOf(4, (i) => ({
      sQuestion: `What is ${String(i)}?`,
      lSolutions: `The answer is: ${String(i)}`,
    })),
  },
  gsm8k: {
    "llm_adapt/gsm8k/train.jsonl": rowsOf(10, (i) => ({
      question: `And ${String(i)}?`,
      answer: `<<1+1=2>>2\n#### ${String(i)}`,
    })),
    "llm_adapt/gsm8k/test.json": rowsOf(4, (i) => ({
      ...instruction(i),
      answer: `${String(i)}.0`,
    })),
  },
  samsum: Object.fromEntries(
    ["train", "val", "test"].map((split) => [
      `samsum/${split}.json`,
      rowsOf(10, (i) => ({
        id: String(i),
        dialogue: `A: hi\r\nB: ${String(i)}`,
        summary: `B says ${String(i)}.`,
      })),
    ]),
  ),
  e2e_nlg: Object.fromEntries(
    ["trainset", "devset", "testset_w_refs"].map((name) => [`e2e/${name}.csv`, csvOf(ten)]),
  ),
  e2e_cleaned: Object.fromEntries(
    ["train", "validation", "test"].map((split) => [`e2e_nlg_cleaned/${split}.csv`, csvOf(ten)]),
  ),
  dailydialog: Object.fromEntries(
    ["train", "validation", "test"].map((split) => [
      `dailydialog/${split}.jsonl`,
      rowsOf(5, (i) => ({ dialog: ["Hello .", `Hello ${String(i)} .`, "Good bye ."] })),
    ]),
  ),
  mmlu: Object.fromEntries(
    ["dev", "test"].map((split) => [
      `mmlu/${split}.jsonl`,
      rowsOf(5, (i) => ({
        subject: "sums",
        question: `1 + ${String(i)}?`,
        choices: ["1", "2", "3", "4"],
        answer: i % 4,
      })),
    ]),
  ),
};

/** Where a set's files lie: the real ones where all of them are there. */
const rootFor = (t: ExecutionContext, set: string): Promise<string> | string =>
  // The manifest has no train rows of e2e_cleaned.
  real !== undefined && set !== "e2e_cleaned" ? real : makeFolder(t, madeUp[set] ?? {});

for (const set of Object.keys(madeUp)) {
  test.serial(
    `${set} trains 20 steps and is answered, on ${real !== undefined && set !== "e2e_cleaned" ? "its real files" : "made-up files"}`,
    async (t) => {
      const root = await rootFor(t, set);
      const folder = await makeFolder(t, {});
      const data = [`--dataset=${set}`, `--data_dir=${root}`, "--limit=3", "--batch=2"];
      const ratio = root === real ? "--dataset_ratio=0.02" : "--dataset_ratio=1";
      const trained = await runHira(
        ...["--peft_type=hira", `--model=${demoFolder}`, "--r_ab=2", "--lr=1e-3", "--seed=1"],
        ...["--max_steps=20", "--eval_strategy=steps", "--eval_steps=20", ratio],
        ...[`--output_folder=${folder}`, "--max_new_tokens=4", ...data],
      );
      t.is(trained.code, 0, trained.err);
      const [run = ""] = await readdir(folder);
      const path = join(folder, run);
      const metrics = (await readFile(join(path, "metrics.jsonl"), "utf8")).trim().split("\n");
      const losses = metrics.map((line) => (JSON.parse(line) as { readonly loss?: number }).loss);
      t.is(losses.length, 20);
      t.true(losses.every((loss) => typeof loss === "number" && Number.isFinite(loss)));
      t.regex(trained.out, /step 20\/20 {2}eval_loss \d/);
      const own = await readOutputJsonl(join(path, "output.jsonl"));
      t.is(own.rows.length, 3);
      t.regex(
        trained.out,
        new RegExp(`^${set}: [\\w ]+ [\\d.]+ % \\(95 % interval .*; 3 rows$`, "m"),
        "the last lines have the main figures of the set's scorer",
      );

      const asked = await runHira(`--ckpt=${path}`, "--max_new_tokens=4", ...data);
      t.is(asked.code, 0, asked.err);
      const name = (await readdir(path)).find((each) => each.endsWith("_eval.jsonl")) ?? "";
      t.regex(name, new RegExp(`^output_-1_${set}(_prob)?_maxT=4_eval\\.jsonl$`));
      const { rows } = await readOutputJsonl(join(path, name));
      t.deepEqual(
        rows.map(({ context, gt }) => [context, gt]),
        own.rows.map(({ context, gt }) => [context, gt]),
      );
    },
  );
}

test.serial(
  "e2e under --compat=tokens,loss trains in one piece, with loss on prompt and answer",
  async (t) => {
    const root = await makeFolder(t, madeUp.e2e_nlg ?? {});
    const folder = await makeFolder(t, {});
    const { code, out, err } = await runHira(
      ...["--peft_type=hira", `--model=${demoFolder}`, "--r_ab=2", "--lr=1e-2", "--seed=1"],
      ...["--max_steps=3", "--eval_strategy=steps", "--eval_steps=3", "--batch=4", "--warmup=0"],
      ...["--dataset=e2e_nlg", `--data_dir=${root}`, "--compat=tokens,loss", "--show_rows=1"],
      ...[`--output_folder=${folder}`, "--max_new_tokens=2", "--limit=1"],
    );
    t.is(code, 0, err);
    // BOS alone has no loss, as nothing stands before it.
    t.regex(out + err, /^ {8}<s>\n {2}loss {2}CONTEXT: name\[N0\] TARGET: This is N0\.<\/s>$/m);
    t.regex(out, /step 3\/3 {2}eval_loss \d/);
    const [run = ""] = await readdir(folder);
    t.is((await readOutputJsonl(join(folder, run, "output.jsonl"))).rows.length, 1);
  },
);
