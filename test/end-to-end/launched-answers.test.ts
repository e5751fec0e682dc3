import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { ExecutionContext } from "ava";
import { demoFolder } from "../../scripts/demo/paths.js";
import { eachLaunched, succeedIn, trainIn, withMpi } from "../support/launch.js";
import { makeTempFolder } from "../support/temp-folder.js";

// What one process answers, two answer alike: every test compares the bytes of their files.

const letters = fileURLToPath(new URL("../fixtures/letters/", import.meta.url));

/** The files of a folder, but for what is about memory and time (line 3, unless it is an accuracy) and the line's own flags. */
const answersIn = async (folder: string): Promise<Readonly<Record<string, readonly string[]>>> => {
  const found: Record<string, readonly string[]> = {};
  const names = await readdir(folder, { recursive: true });
  for (const name of names.filter((each) => each.endsWith(".jsonl")).sort()) {
    const lines = (await readFile(join(folder, name), "utf8")).split("\n");
    found[name] = lines.filter((line, i) => i > 0 && !(i === 2 && line.includes("mem_used")));
  }
  return found;
};

const compare = async (t: ExecutionContext, argv: readonly string[]): Promise<string> => {
  const folder = await makeTempFolder(t);
  const [one, two] = [join(folder, "one"), join(folder, "two")];
  const flags = ["--threads=1", ...argv];
  await succeedIn(t, 1, [...flags, `--output_folder=${one}`]);
  const said = await succeedIn(t, 2, [...flags, `--output_folder=${two}`]);
  const expected = await answersIn(one);
  t.true(Object.keys(expected).length > 0);
  t.deepEqual(await answersIn(two), expected);
  // One file, one line that says so, from process 0.
  t.is(said.match(/Wrote /g)?.length, Object.keys(expected).length);
  return said;
};

const demo = [`--model=${demoFolder}`, `--ckpt=${demoFolder}`];

withMpi("two processes answer mmlu by letters, and sets by likelihood and by text", async (t) => {
  await compare(t, [...demo, `--data_dir=${letters}`, "--dataset=mmlu", "--batch=2"]);
  const sets = [...demo, `--data_dir=${demoFolder}`, "--batch=3", "--limit=7"];
  const said = await compare(t, [...sets, "--dataset=boolq", "--scoring=both"]);
  t.regex(said, /BoolQ +7 /);
});

const words = { positive: ["warm", "bright", "kind"], negative: ["cold", "dull", "rude"] } as const;

/** Rows of SST-2's form that a word tells apart, of several lengths. */
const writeSst2 = async (folder: string): Promise<string> => {
  await mkdir(join(folder, "sst2"), { recursive: true });
  const lines = Array.from({ length: 25 }, (_, i) => {
    const label = i % 2;
    const word = words[label === 1 ? "positive" : "negative"][i % 3] ?? "";
    return `the day was ${word}${" and long".repeat(i % 4)}\t${String(label)}`;
  });
  for (const split of ["train", "dev"])
    await writeFile(join(folder, "sst2", `${split}.tsv`), `sentence\tlabel\n${lines.join("\n")}\n`);
  return folder;
};

withMpi("two processes classify the test rows, after training and with --ckpt", async (t) => {
  const folder = await makeTempFolder(t);
  const data = await writeSst2(join(folder, "data"));
  const flags = [
    ...[`--model=${demoFolder}`, "--task=sequence-classification", "--dataset=sst2"],
    ...[`--data_dir=${data}`, "--batch=4", "--max_length=32", "--threads=1"],
  ];
  const train = [
    ...[...flags, "--peft_type=lora", "--r_ab=2", "--target_modules=q_proj,v_proj"],
    // So small that what is added to the start values is lost in them: both runs answer with the same weights.
    ...["--warmup=0", "--max_steps=2", "--lr=1e-30"],
  ];
  const [one = "", two = ""] = [
    await trainIn(t, 1, [...train, "--grad_acc=2", `--output_folder=${join(folder, "one")}`]),
    await trainIn(t, 2, [...train, "--grad_acc=1", `--output_folder=${join(folder, "two")}`]),
  ];
  const expected = await answersIn(one);
  t.is(expected["output.jsonl"]?.length, 2 + 25 + 1);
  t.deepEqual((await answersIn(two))["output.jsonl"], expected["output.jsonl"]);
  await compare(t, [...flags, `--ckpt=${one}`]);
});

withMpi("processes that ask other rows or other models do not answer together", async (t) => {
  const folder = await makeTempFolder(t);
  const line = [...demo, "--dataset=boolq", "--batch=3", `--output_folder=${folder}`];
  const { code, err } = await eachLaunched(t, [
    [...line, `--data_dir=${demoFolder}`, "--limit=3"],
    [...line, `--data_dir=${demoFolder}`, "--limit=4", "--seed=7"],
  ]).ended;
  t.is(code, 2);
  t.regex(err, /process 0 of 2.*Cannot answer in several processes/);
  t.regex(
    err,
    /the rows of boolq: found "[0-9a-f]+" in process 1, expected process 0's "[0-9a-f]+"/,
  );
  t.regex(err, /--seed: found 7 in process 1, expected process 0's null/);
  t.deepEqual(await readdir(folder), []);
});

withMpi("a command that shares nothing out refuses to be several, once", async (t) => {
  const { code, err } = await eachLaunched(t, [
    ["score", "x"],
    ["score", "x"],
  ]).ended;
  t.is(code, 2);
  t.is(err.match(/Cannot run hira score in 2 processes/g)?.length, 1);
});
