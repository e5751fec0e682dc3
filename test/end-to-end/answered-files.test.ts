import { cp, readFile, rm, writeFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { demoFolder } from "../../scripts/demo/paths.js";
import { runHira } from "../support/run-hira.js";
import { makeTempFolder } from "../support/temp-folder.js";

const name = "output_-1_boolq_beam=1_eval.jsonl";

/** A run of the demo, two steps of HiRA. */
const trainRun = async (t: ExecutionContext): Promise<string> => {
  const folder = await makeTempFolder(t);
  const { code, err } = await runHira(
    ...["--peft_type=hira", `--model=${demoFolder}`, "--dataset=boolq", `--data_dir=${demoFolder}`],
    ...["--max_steps=2", "--eval_strategy=no", "--limit=1", `--output_folder=${folder}`],
  );
  t.is(code, 0, err);
  const [run = ""] = await readdir(folder);
  return join(folder, run);
};

/** What of a file of answers two evaluations share: all but the third line, which says how much memory was used. */
const answersOf = async (path: string): Promise<readonly string[]> =>
  (await readFile(path, "utf8")).split("\n").filter((_, i) => i > 2);

test("a small evaluation does not stand for the whole one; a torn file is put aside, a larger one stays (9.6)", async (t) => {
  const run = await trainRun(t);
  const evaluate = (...more: readonly string[]) =>
    runHira(
      ...[`--ckpt=${run}`, "--dataset=boolq", `--data_dir=${demoFolder}`, "--beam_size=1"],
      ...more,
    );
  const path = join(run, name);
  t.is((await evaluate("--limit=6")).code, 0);
  const whole = await answersOf(path);
  t.is(whole.length, 8);
  await rm(path);

  t.is((await evaluate("--limit=2")).code, 0);
  const grown = await evaluate("--limit=6");
  t.true(grown.out.includes("File exists with 2 of 6 rows, answering all of them."), grown.out);
  t.deepEqual(await answersOf(path), whole);

  const skipped = await evaluate("--limit=6");
  t.regex(skipped.out, /File exists, skipped\.\n/);
  const smaller = await evaluate("--limit=3");
  t.true(smaller.out.includes("File exists, skipped. It has 6 rows."), smaller.out);
  t.deepEqual(await answersOf(path), whole);

  const text = await readFile(path, "utf8");
  await writeFile(path, text.slice(0, -20));
  const torn = await evaluate("--limit=6");
  t.regex(torn.err, /Put aside as .*\.torn/);
  t.deepEqual(await answersOf(path), whole);
  t.is(await readFile(`${path}.torn`, "utf8"), text.slice(0, -20));
});

test("common_all looks at the files of all eight sets before the first answer (9.17)", async (t) => {
  const run = await trainRun(t);
  const data = await makeTempFolder(t);
  await cp(join(demoFolder, "llm_adapt"), join(data, "llm_adapt"), { recursive: true });
  await rm(join(data, "llm_adapt", "winogrande", "test.json"));
  await writeFile(join(data, "llm_adapt", "openbookqa", "test.json"), '[{"instruction": 3}]');
  const before = await readdir(run);
  const { code, err } = await runHira(
    ...[`--ckpt=${run}`, "--dataset=common_all", `--data_dir=${data}`, "--limit=1"],
  );
  t.is(code, 2);
  t.regex(err, /winogrande/);
  t.regex(err, /openbookqa/);
  t.deepEqual(await readdir(run), before);
});
