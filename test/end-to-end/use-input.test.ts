import { cp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { demoFolder } from "../../scripts/demo/paths.js";
import { readOutputJsonl } from "../../src/report/output-jsonl.js";
import { runHira } from "../support/run-hira.js";
import { makeTempFolder } from "../support/temp-folder.js";

/** 8 rows of ARC-Challenge a split, of which rows 3 and 6 (from 1) have an input. */
const prepare = async (t: ExecutionContext): Promise<string> => {
  const folder = await makeTempFolder(t);
  for (const name of ["train.json", "test.json"]) {
    const path = join(folder, "llm_adapt/ARC-Challenge", name);
    await cp(join(demoFolder, "llm_adapt/ARC-Challenge", name), path);
    const rows = JSON.parse(await readFile(path, "utf8")) as object[];
    const edited = rows
      .slice(0, 8)
      .map((row, i) => (i === 2 || i === 5 ? { ...row, input: `the cat ${String(i)}` } : row));
    await writeFile(path, JSON.stringify(edited));
  }
  return folder;
};

const common = (folder: string): readonly string[] => [
  ...["--dataset=arcc", `--data_dir=${folder}`, "--max_new_tokens=2"],
];

const train = async (
  t: ExecutionContext,
  folder: string,
  name: string,
  ...flags: readonly string[]
): Promise<{ readonly run: string; readonly err: string }> => {
  const runs = join(folder, name);
  const { code, err } = await runHira(
    ...["--peft_type=hira", `--model=${demoFolder}`, ...common(folder), "--r_ab=2", "--seed=1"],
    ...["--max_steps=1", "--batch=4", "--decoding=greedy", `--output_folder=${runs}`, ...flags],
  );
  t.is(code, 0, err);
  const [run = ""] = await readdir(runs);
  return { run: join(runs, run), err };
};

const contextsOf = async (path: string): Promise<readonly string[]> =>
  (await readOutputJsonl(path)).rows.map(({ context }) => context);

test("an input that is dropped is told with count and rows, once a file (9.4)", async (t) => {
  const folder = await prepare(t);
  const { run, err } = await train(t, folder, "runs");
  for (const name of ["train", "test"])
    t.is(
      err.match(
        new RegExp(
          `${name}\\.json: the "input" of 2 of 8 rows is dropped.*\\(rows 3, 6\\); --use_input puts`,
          "g",
        ),
      )?.length,
      1,
      err,
    );
  t.false((await contextsOf(join(run, "output.jsonl"))).some((text) => text.includes("the cat")));
  const refused = await runHira(`--ckpt=${run}`, ...common(folder), "--use_input");
  t.is(refused.code, 2, refused.err);
  t.regex(refused.err, /--use_input: found true, expected false/);
  const answered = await runHira(`--ckpt=${run}`, ...common(folder), "--decoding=greedy");
  t.is(answered.code, 0, answered.err);
  t.regex(answered.err, /of 2 of 8 rows is dropped.*; as where this run was trained/);
});

test("--use_input puts inputs into the prompts of a run, and of its --ckpt and its checkpoints, too (9.4)", async (t) => {
  const folder = await prepare(t);
  const { run, err } = await train(t, folder, "runs", "--use_input");
  t.notRegex(err, /is dropped/);
  const { flags } = JSON.parse(await readFile(join(run, "run.json"), "utf8")) as {
    readonly flags: { readonly use_input: boolean };
  };
  t.true(flags.use_input);
  const own = await readOutputJsonl(join(run, "output.jsonl"));
  t.deepEqual(
    own.rows.flatMap(({ context }, i) => (context.endsWith(`\n\nthe cat ${String(i)}`) ? [i] : [])),
    [2, 5],
  );
  const [checkpoint = ""] = (await readdir(run)).filter((name) => name.startsWith("checkpoint-"));
  for (const ckpt of [run, join(run, checkpoint)]) {
    const ask = [`--ckpt=${ckpt}`, ...common(folder), "--decoding=greedy", "--batch=4"];
    const { code, err: told } = await runHira(...ask);
    t.is(code, 0, told);
    t.notRegex(told, /is dropped/);
    const answers = await readOutputJsonl(join(ckpt, "output_-1_arcc_maxT=2_eval.jsonl"));
    t.deepEqual(answers.rows, own.rows);
  }
  // The same weights with another template: the losses of the first step differ.
  const lossOf = async (path: string): Promise<unknown> => {
    const [first = ""] = (await readFile(join(path, "metrics.jsonl"), "utf8")).split("\n");
    return (JSON.parse(first) as { readonly loss: number }).loss;
  };
  const without = await train(t, folder, "others");
  t.not(await lossOf(run), await lossOf(without.run));
});

test("--dataset_analysis and a plain model take --use_input (9.4)", async (t) => {
  const folder = await prepare(t);
  const analyse = async (...flags: readonly string[]): Promise<string> => {
    const ask = ["--dataset_analysis", `--model=${demoFolder}`, ...common(folder), ...flags];
    const { code, out, err } = await runHira(...ask);
    t.is(code, 0, err);
    return out + err;
  };
  const longest = (text: string): number =>
    Number(/^ {2}context.*?(\d+)$/m.exec(text)?.[1] ?? Number.NaN);
  const [without, withInput] = [await analyse(), await analyse("--use_input")];
  t.regex(without, /train\.json: the "input" of 2 of 8 rows is dropped/);
  t.notRegex(withInput, /is dropped/);
  t.true(longest(withInput) > longest(without) + 10);

  const model = join(folder, "model");
  await cp(demoFolder, model, { recursive: true, filter: (path) => !path.includes("llm_adapt") });
  const answers = `--output_folder=${join(folder, "answers")}`;
  const ask = [`--ckpt=${model}`, ...common(folder), "--limit=3", "--beam_size=1", answers];
  t.is((await runHira(...ask, "--use_input")).code, 0);
  const path = join(folder, "answers", "model", "output_-1_arcc_maxT=2_beam=1_input_eval.jsonl");
  t.regex((await contextsOf(path))[2] ?? "", /the cat 2$/);
  await rm(path);
  const plain = await runHira(...ask);
  t.regex(plain.err, /of 1 of 3 rows is dropped.*\(row 3\); --use_input puts/);
});

test("--use_input is refused for rows of token ids, and told where no row has an input (9.4)", async (t) => {
  const folder = await prepare(t);
  const { code, err } = await runHira(
    ...["--peft_type=hira", `--model=${demoFolder}`, "--dataset=rows.jsonl", "--use_input"],
    "--eval_strategy=no",
  );
  t.is(code, 2);
  t.regex(err, /--use_input \(with --dataset=rows\.jsonl\): found a flag without effect/);
  const told = await train(
    t,
    folder,
    "runs",
    ...[`--data_dir=${demoFolder}`, "--limit=2", "--use_input", "--eval_strategy=no"],
  );
  t.regex(told.err, /train\.json: no row has an input, so --use_input changes nothing/);
});
