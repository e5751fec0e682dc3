import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import { readGguf } from "../../src/models/gguf/read-gguf.js";
import { readSafetensorsHeader, readTensorData } from "../../src/models/weights/safetensors.js";
import { peftFixture } from "../support/adapter-base.js";
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

  // A merged folder and what was merged give one file, and it computes what they do.
  const exported = join(root, "exported.gguf");
  t.regex(
    await run("export", `--model=${merged}`, `--out=${exported}`),
    /Wrote .*merged to .*exported\.gguf: 20 tensors in F32/,
  );
  t.deepEqual(await logits(exported, "exported"), left);
  const direct = join(root, "direct.gguf");
  await run("export", `--ckpt=${ours}`, "--to=gguf", "--outtype=f32", `--out=${direct}`);
  t.deepEqual(await logits(direct, "direct"), left);
  const again = join(root, "again");
  await run("export", `--model=${file}`, "--outtype=q8_0", `--out=${join(again, "q8.gguf")}`);
  const eighth = await logits(join(again, "q8.gguf"), "q8");
  const plain = await logits(file, "plain");
  const reach = plain.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const off = eighth.reduce(
    (most, value, i) => Math.max(most, Math.abs(value - (plain[i] ?? NaN))),
    0,
  );
  t.true(off < 0.1 * reach, `${String(off)} of ${String(reach)}`);
  t.notDeepEqual(eighth, plain);

  const { code, err } = await runHira("export", `--ckpt=${ours}`, `--out=${direct}`);
  t.is(code, 2);
  t.regex(err, /direct\.gguf: found a file of that name, expected none[^]*--overwrite/);
  await run("export", `--ckpt=${ours}`, "--outtype=f16", `--out=${direct}`, "--overwrite");
  t.deepEqual(
    (await readdir(root)).filter((name) => name.startsWith(".")),
    [],
  );
});

test("hira export --adapter_only writes LoRA alone, and says why it writes nothing else so", async (t) => {
  const root = await makeTempFolder(t);
  const base = `--model=${peftFixture("base")}`;
  const attempt = (name: string, ...flags: readonly string[]) =>
    runHira("export", ...flags, `--out=${join(root, name)}`);
  const adapter = (name: string, ...more: readonly string[]) =>
    attempt(`${name}.gguf`, `--ckpt=${peftFixture(name)}`, base, "--adapter_only", ...more);
  for (const name of ["lora", "rslora", "lora-embedding"]) {
    const { code, err, out } = await adapter(name);
    t.is(code, 0, err);
    t.regex(out, /Wrote the adapter .* tensors in F32/);
  }
  const { metadata, tensors } = await readGguf(join(root, "lora.gguf"));
  t.is(metadata.get("general.type"), "adapter");
  t.true([...tensors.keys()].every((name) => /^blk\.\d\.\w+\.weight\.lora_[ab]$/.test(name)));
  const embedding = (await readGguf(join(root, "lora-embedding.gguf"))).tensors;
  const [a, b] = ["a", "b"].map((end) => embedding.get(`token_embd.weight.lora_${end}`)?.shape);
  t.is(a?.at(-1), b?.at(-1), "the rank is the last axis of both");

  const refused = {
    hira: /found hira, whose update of a weight is no scale \* B A of low rank[^]*merged model/,
    dora: /found dora, whose update/,
    "lora-saved": /trained in full beside it, expected B A alone/,
    prefix: /found prefix[^]*no form for virtual tokens/,
  };
  for (const [name, pattern] of Object.entries(refused)) {
    const { code, err } = await adapter(name);
    t.is(code, 2, name);
    t.regex(err, pattern);
  }
  const flags = await attempt("model.bin", "--adapter_only");
  t.is(flags.code, 2);
  t.regex(flags.err, /--model_name: found nothing, expected a model/);
  t.regex(flags.err, /--adapter_only: found it without --ckpt/);
  t.regex(flags.err, /--out: found ".*model.bin", expected a file that ends in .gguf/);
  t.deepEqual((await readdir(root)).sort(), ["lora-embedding.gguf", "lora.gguf", "rslora.gguf"]);
});
