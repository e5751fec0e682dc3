import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import { demoFolder } from "../../scripts/demo/paths.js";
import { peftFixture } from "../support/adapter-base.js";
import { runHira } from "../support/run-hira.js";
import { makeTempFolder } from "../support/temp-folder.js";
import { writeTinyRows } from "../support/tiny-runs.js";

for (const [command, ending] of [
  ["generate", "jsonl"],
  ["forward", "safetensors"],
] as const)
  test(`hira ${command} refuses a file that is there before it loads the model (9.18)`, async (t) => {
    const folder = await makeTempFolder(t);
    const rows = await writeTinyRows(folder);
    const out = join(folder, `out.${ending}`);
    await writeFile(out, "mine");
    const line = [command, `--input=${rows}`, `--out=${out}`];
    const refused = await runHira(...line, "--model=no/such/model");
    t.is(refused.code, 2);
    t.regex(refused.err, /out\.\w+: found a file of that name, expected none\n.*--overwrite/);
    t.is(await readFile(out, "utf8"), "mine");
    const elsewhere = await runHira(...line, `--out=${rows}/x`, `--model=${demoFolder}`);
    t.regex(elsewhere.err, /Cannot write .*rows\.jsonl\/x: /);
    if (command === "forward")
      await writeFile(rows, (await readFile(rows, "utf8")).split("\n")[0] ?? "");
    const replaced = await runHira(...line, `--model=${peftFixture("base")}`, "--overwrite");
    t.is(replaced.code, 0, replaced.err);
    t.not(await readFile(out, "utf8"), "mine");
  });

test("hira compare --out refuses a file that is there (9.18)", async (t) => {
  const folder = await makeTempFolder(t);
  const out = join(folder, "table.md");
  await writeFile(out, "mine");
  const refused = await runHira("compare", folder, `--out=${out}`);
  t.is(refused.code, 2);
  t.regex(refused.err, /table\.md: found a file of that name/);
});

test("hira data split leaves other rows alone, and does the same split again (9.18)", async (t) => {
  const folder = await makeTempFolder(t);
  const rows = Array.from({ length: 9 }, (_, i) => ({ instruction: String(i), input: "" }));
  await writeFile(join(folder, "all.json"), JSON.stringify(rows));
  await writeFile(join(folder, "test.json"), "mine");
  const line = ["data", "split", `--input=${join(folder, "all.json")}`, "--hold_out=2"];
  const refused = await runHira(...line);
  t.is(refused.code, 2);
  t.regex(refused.err, /test\.json: found a file of other rows there\n.*--overwrite/);
  t.is(await readFile(join(folder, "test.json"), "utf8"), "mine");
  t.is((await runHira(...line, "--overwrite")).code, 0);
  t.is((await runHira(...line)).code, 0);
});

test("hira score --csv writes its tables again, but over nothing else (9.18)", async (t) => {
  const folder = await makeTempFolder(t);
  const run = join(folder, "run");
  await mkdir(run);
  await writeFile(join(run, "boolq.jsonl"), '{"context":"","pred":"true","gt":"true"}\n');
  t.is((await runHira("score", run, "--csv")).code, 0);
  t.is((await runHira("score", run, "--csv")).code, 0);
  await writeFile(join(run, "results_boolq.csv"), "mine,1\n");
  const refused = await runHira("score", run, "--csv");
  t.is(refused.code, 2);
  t.regex(
    refused.err,
    /results_boolq\.csv: found a file that is no table of scores\n.*--overwrite/,
  );
  t.is(await readFile(join(run, "results_boolq.csv"), "utf8"), "mine,1\n");
  t.is((await runHira("score", run, "--csv", "--overwrite")).code, 0);
});
