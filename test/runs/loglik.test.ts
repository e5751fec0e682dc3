import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import test from "ava";
import { demoFolder } from "../../scripts/demo/paths.js";
import { choicesOf } from "../../src/runs/choices.js";
import { readOutputJsonl } from "../../src/report/output-jsonl.js";
import { likeliest, readLikelihoodRows } from "../../src/score/likelihood.js";
import { runHira } from "../support/run-hira.js";
import { makeTempFolder } from "../support/temp-folder.js";

const demo = [`--model=${demoFolder}`, `--ckpt=${demoFolder}`, `--data_dir=${demoFolder}`].concat(
  "--batch=16",
);

interface Expected {
  readonly set: string;
  readonly form: "words" | "texts" | "words-joint" | "texts-joint";
  readonly row: number;
  readonly loglik: readonly number[];
  readonly tokens: readonly number[];
  readonly bytes: readonly number[];
  readonly characters?: readonly number[];
}

test("the likelihoods of answers, by their words and by their texts, apart and in one piece with the prompt, equal plain PyTorch's", async (t) => {
  const stored = async (name: string): Promise<readonly Expected[]> =>
    JSON.parse(
      await readFile(fileURLToPath(new URL(`../fixtures/loglik/${name}`, import.meta.url)), "utf8"),
    ) as Expected[];
  const expected = [...(await stored("demo.json")), ...(await stored("demo-joint.json"))];
  const out = await makeTempFolder(t);
  for (const form of ["words", "texts", "texts-joint"] as const) {
    const { code, err } = await runHira(
      ...[...demo, "--dataset=common_all", "--limit=4", `--output_folder=${out}`],
      ...["--scoring=loglik", `--choices=${form}`],
    );
    t.is(code, 0, err);
    const ending = form === "words" ? "loglik" : `loglik-${form}`;
    for (const { set, row, loglik, tokens, bytes, characters } of expected.filter(
      (e) => e.form === form,
    )) {
      const file = join(out, "demo", `output_-1_${set}_${ending}_eval.jsonl`);
      const found = (await readLikelihoodRows(file))[row];
      const name = `${set}, ${form}, row ${String(row)}`;
      t.deepEqual(found?.tokens, tokens, name);
      t.deepEqual(found?.bytes, bytes, name);
      if (characters) t.deepEqual(found?.characters, characters, name);
      for (const [i, value] of loglik.entries())
        t.true(Math.abs((found?.logProbs[i] ?? NaN) - value) < 1e-4 * Math.abs(value), name);
    }
  }
});

test("both ways to answer stand in one table, with the rows on which they differ", async (t) => {
  const out = await makeTempFolder(t);
  const flags = [...demo, "--dataset=boolq", "--limit=6", `--output_folder=${out}`];
  const alone = await runHira(...flags, "--scoring=loglik");
  t.is(alone.code, 0, alone.err);
  t.regex(alone.out, /BoolQ +6 +- /);
  t.regex(alone.out, /--scoring=both writes them/);
  const both = await runHira(...flags, "--scoring=both");
  t.is(both.code, 0, both.err);
  t.regex(both.out, /loglik_eval\.jsonl: File exists, skipped\./);
  const [written, judged] = await Promise.all(
    ["", "_loglik"].map((part) =>
      readOutputJsonl(join(out, "demo", `output_-1_boolq${part}_eval.jsonl`)),
    ),
  );
  const wordOf = (text = ""): string => /true|false/.exec(text)?.[0] ?? "";
  const differ = judged?.rows.filter(
    ({ pred }, i) => wordOf(pred) !== wordOf(written?.rows[i]?.pred),
  ).length;
  t.true(both.out.includes(`${((100 * (differ ?? 0)) / 6).toFixed(1)}%`), both.out);
  t.deepEqual(
    judged?.rows.map(({ context, gt }) => ({ context, gt })),
    written?.rows.map(({ context, gt }) => ({ context, gt })),
  );
});

test("the likeliest answer is that of the highest log p, by sum, by token, by byte and by character", (t) => {
  const found = { logProbs: [-4, -6, -9], tokens: [1, 2, 2], bytes: [2, 6, 6] };
  t.is(likeliest(found, "sum"), 0);
  t.is(likeliest(found, "token"), 1);
  t.is(likeliest({ ...found, logProbs: [-4, -6, -6] }, "byte"), 1);
  // Of two bytes each, the second one's characters are as many as the first one's bytes.
  t.is(likeliest({ ...found, characters: [2, 6, 3] }, "character"), 1);
  t.is(likeliest({ ...found, characters: [1, 2, 12] }, "character"), 2);
});

test("a row has the answers that it lists, and a row without their texts is named", (t) => {
  const path = "rows.json";
  const row = {
    context:
      "Which speaks of Answer1: or more?\n\nAnswer1: one Answer2: two words Answer3: 3.\n\nAnswer format: answer1/answer2/answer3",
    target: "the correct answer is answer2",
  };
  const texts = choicesOf("arcc", [row], { form: "texts", path })[0];
  t.deepEqual(
    texts?.map(({ text }) => text),
    ["one", "two words", "3."],
  );
  const words = choicesOf("arcc", [row], { form: "words", path })[0];
  t.deepEqual(
    words?.map(({ text }) => text),
    [1, 2, 3].map((i) => `the correct answer is answer${String(i)}`),
  );
  const broken = { ...row, context: row.context.replace("Answer3:", "C:") };
  t.throws(() => choicesOf("arcc", [row, broken], { form: "texts", path }), {
    message: /1 rows .*row 2/,
  });
});

test("--scoring is refused where nothing is chosen, and a broken file of likelihoods is told", async (t) => {
  const out = await makeTempFolder(t);
  const flags = [...demo, "--dataset=boolq", "--limit=2", `--output_folder=${out}`];
  const cases: readonly (readonly [RegExp, ...string[]])[] = [
    [
      /--scoring \(without --ckpt\)/,
      `--model=${demoFolder}`,
      "--peft_type=hira",
      "--dataset=boolq",
      "--scoring=loglik",
    ],
    [/--choices \(without --scoring=loglik\)/, ...flags, "--choices=texts"],
    [
      /--output_file: found --scoring both/,
      ...flags,
      "--scoring=both",
      `--output_file=${out}/a.jsonl`,
    ],
  ];
  for (const [message, ...argv] of cases) {
    const { code, err } = await runHira(...argv);
    t.is(code, 2);
    t.regex(err, message);
  }
  t.is((await runHira(...flags, "--scoring=loglik")).code, 0);
  const file = join(out, "demo", "output_-1_boolq_loglik_eval.jsonl");
  await writeFile(file, (await readFile(file, "utf8")).replaceAll('"tokens"', '"token"'));
  const { code, err } = await runHira(...flags, "--scoring=loglik");
  t.is(code, 2);
  t.regex(
    err,
    /answers by likelihood: found 2 faults\n.*line 5: found fields context, .*tokens and bytes/,
  );
});
