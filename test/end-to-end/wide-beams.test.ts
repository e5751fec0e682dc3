import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { peftFixture } from "../support/adapter-base.js";
import { runHira } from "../support/run-hira.js";
import { makeTempFolder } from "../support/temp-folder.js";

interface Line {
  readonly row: number;
  readonly new_tokens: readonly number[];
  readonly score: number;
}

/** The lines that `hira generate` writes for these prompts. */
const generateLines = async (
  t: ExecutionContext,
  prompts: readonly object[],
  ...flags: readonly string[]
): Promise<readonly Line[]> => {
  const folder = await makeTempFolder(t);
  const [input, out] = [join(folder, "prompts.jsonl"), join(folder, "out.jsonl")];
  await writeFile(input, prompts.map((prompt) => `${JSON.stringify(prompt)}\n`).join(""));
  const { code, err } = await runHira("generate", `--input=${input}`, `--out=${out}`, ...flags);
  t.is(code, 0, err);
  const text = await readFile(out, "utf8");
  return text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Line);
};

const near = (t: ExecutionContext, found: Line | undefined, score: number): void => {
  t.true(
    Math.abs((found?.score ?? NaN) - score) < 1e-4,
    `${String(found?.score)}, ${String(score)}`,
  );
};

test("hira generate searches with more beams than prompt and new tokens have columns: transformers' answer (9.8)", async (t) => {
  const [best, second] = await generateLines(
    t,
    [{ prompt: "does the" }],
    ...[
      "--model=data_file/demo",
      "--beam_size=8",
      "--num_return_sequences=2",
      "--max_new_tokens=2",
    ],
  );
  // transformers 5.23, float32: num_beams=8, max_new_tokens=2, num_return_sequences=8.
  t.deepEqual(best?.new_tokens, [989, 587]);
  near(t, best, -2.561617);
  t.deepEqual(second?.new_tokens, [1033, 587]);
  near(t, second, -2.583674);
});

test("hira generate searches with more beams than the vocabulary has tokens (9.8)", async (t) => {
  const [best] = await generateLines(
    t,
    [{ prompt: "does the" }],
    ...["--model=data_file/demo", "--beam_size=1500", "--max_new_tokens=2"],
  );
  // transformers 5.23, float32: num_beams=1500, max_new_tokens=2. So many beams find more than eight do.
  t.deepEqual(best?.new_tokens, [1005, 587]);
  near(t, best, -2.526938);
});

for (const method of ["prefix", "prompt-tuning", "hira"])
  for (const sampling of [[], ["--do_sample=yes", "--seed=3"]])
    test(`hira generate searches with more beams than columns behind a ${method} adapter${sampling.length > 0 ? ", sampling" : ""} (9.8)`, async (t) => {
      const flags = [
        ...[`--model=${peftFixture("base")}`, `--ckpt=${peftFixture(method)}`, "--batch=1"],
        ...["--beam_size=40", "--num_return_sequences=3", "--max_new_tokens=2", ...sampling],
      ];
      const short = { input_ids: [1] };
      // Beside a long prompt there are more positions than beams.
      const long = { input_ids: Array.from({ length: 60 }, (_, i) => 4 + (i % 9)) };
      const alone = await generateLines(t, [short], ...flags);
      const beside = await generateLines(t, [short, long], ...flags);
      t.deepEqual(
        beside.filter(({ row }) => row === 0),
        alone,
      );
      t.is(alone.length, 3);
    });
