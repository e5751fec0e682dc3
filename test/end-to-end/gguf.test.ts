import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import { readSafetensorsHeader, readTensorData } from "../../src/models/weights/safetensors.js";
import { runHira } from "../support/run-hira.js";
import { makeTempFolder } from "../support/temp-folder.js";
import { makeTinyGguf } from "../support/tiny-gguf.js";

const dataOf = async (path: string, name: string): Promise<Float32Array> => {
  const entry = (await readSafetensorsHeader(path)).entries.get(name);
  if (!entry) throw new RangeError(`${path} has no ${name}`);
  return (await readTensorData(entry)) as Float32Array;
};

test("a GGUF file computes what its converted folder does, bit for bit, trains, answers and merges", async (t) => {
  const root = await makeTempFolder(t);
  const { file, folder } = await makeTinyGguf(root);
  const rows = join(root, "rows.jsonl");
  const ids = Array.from({ length: 12 }, (_, i) => (i * 7 + 3) % 100);
  await writeFile(rows, `${JSON.stringify({ input_ids: ids, labels: ids })}\n`.repeat(4));
  const run = async (...args: readonly string[]): Promise<string> => {
    const { code, err, out } = await runHira(...args);
    t.is(code, 0, err);
    return out;
  };

  const logits = async (model: string, name: string, ...more: readonly string[]) => {
    const out = join(root, `${name}.safetensors`);
    await run("forward", `--model=${model}`, `--input=${rows}`, `--out=${out}`, ...more);
    return dataOf(out, "logits");
  };
  t.deepEqual(await logits(file, "gguf"), await logits(folder, "converted"));

  const train = async (model: string, name: string): Promise<string> => {
    const runs = join(root, name);
    await run(
      "train",
      `--model=${model}`,
      "--peft_type=hira",
      "--r_ab=2",
      `--dataset=${rows}`,
      "--batch=2",
      "--max_steps=2",
      "--lr=0.01",
      "--eval_strategy=no",
      "--target_modules=q_proj,down_proj",
      "--seed=1",
      `--output_folder=${runs}`,
    );
    const [found = ""] = await readdir(runs);
    return join(runs, found);
  };
  const [ours, theirs] = [await train(file, "of-gguf"), await train(folder, "of-folder")];
  const record = JSON.parse(await readFile(join(ours, "run.json"), "utf8")) as {
    model: { folder: string; sha256: Record<string, string> };
  };
  t.is(record.model.folder, file);
  t.deepEqual(Object.keys(record.model.sha256), ["tiny.gguf"]);
  t.deepEqual(
    await logits(file, "trained", `--ckpt=${ours}`),
    await logits(folder, "trained-folder", `--ckpt=${theirs}`),
  );

  const prompts = join(root, "prompts.jsonl");
  await writeFile(prompts, `${JSON.stringify({ prompt: "the bath" })}\n`);
  const answers = join(root, "answers.jsonl");
  await run(
    "generate",
    `--model=${file}`,
    `--ckpt=${ours}`,
    `--input=${prompts}`,
    `--out=${answers}`,
    "--max_new_tokens=4",
  );
  t.regex(await readFile(answers, "utf8"), /new_tokens/);

  const merged = join(root, "merged");
  const shown = await run("merge", `--ckpt=${ours}`, `--out=${merged}`);
  t.regex(shown, /The base is held quantized/);
  const [left, right] = [
    await logits(merged, "merged"),
    await dataOf(join(root, "trained.safetensors"), "logits"),
  ];
  t.true(left.every((value, i) => Math.abs(value - (right[i] ?? NaN)) < 1e-4));
  const tokenizer = JSON.parse(await readFile(join(merged, "tokenizer.json"), "utf8")) as {
    model: { type: string };
  };
  t.is(tokenizer.model.type, "BPE");
});
