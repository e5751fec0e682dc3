import { cp, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { loadModelFolder } from "../../src/models/model-folder.js";
import { readTensorAsFloat32 } from "../../src/models/weights/safetensors.js";
import { writeModelFolder } from "../../src/models/write-model-folder.js";
import { largestDifference } from "../support/adapted-model.js";
import { peftFixture } from "../support/adapter-base.js";
import { forwardLogits, peftLogits } from "../support/forward-logits.js";
import { runHira } from "../support/run-hira.js";
import { makeTempFolder } from "../support/temp-folder.js";
import { tinyRunFlags, trainTiny, writeTinyRows } from "../support/tiny-runs.js";

const ids = peftLogits.input_ids;
const warning = /config\.json says "tie_word_embeddings": true, but the weights hold a lm_head/g;

/** The tiny base, whose head and embedding differ, with a config that says they are tied. */
const makeMistied = async (t: ExecutionContext): Promise<string> => {
  const folder = join(await makeTempFolder(t), "mistied");
  await cp(peftFixture("base"), folder, { recursive: true });
  const config = await readFile(join(folder, "config.json"), "utf8");
  const tied = config.replace('"tie_word_embeddings": false', '"tie_word_embeddings": true');
  t.not(tied, config);
  await writeFile(join(folder, "config.json"), tied);
  return folder;
};

const warnsOnce = (t: ExecutionContext, err: string): void => {
  t.is(err.match(warning)?.length, 1, err);
};

test("a model that is said to be tied and is not has transformers' logits, alone and adapted (9.3)", async (t) => {
  const model = await makeMistied(t);
  const plain = await forwardLogits(t, ids, `--model=${model}`);
  // transformers 5.24 loads this very folder with the logits of the base that says "false".
  t.true(largestDifference(plain.logits, peftLogits.logits.base ?? []) < 1e-4);
  warnsOnce(t, plain.err);
  const lora = [`--ckpt=${peftFixture("lora")}`, `--model=${model}`];
  const adapted = await forwardLogits(t, ids, ...lora);
  t.true(largestDifference(adapted.logits, peftLogits.logits.lora ?? []) < 1e-4);
  warnsOnce(t, adapted.err);
});

test("merging into it says in config.json what is true (9.3)", async (t) => {
  const model = await makeMistied(t);
  const folder = await makeTempFolder(t);
  const [merged, back] = [join(folder, "merged"), join(folder, "back")];
  const adapter = [`--ckpt=${peftFixture("lora")}`, `--model=${model}`];
  const { code, err } = await runHira("merge", ...adapter, `--out=${merged}`);
  t.is(code, 0, err);
  warnsOnce(t, err);
  t.like(await loadModelFolder(merged), {
    rawConfig: { tie_word_embeddings: false },
    warnings: [],
  });
  const { logits } = await forwardLogits(t, ids, `--model=${merged}`);
  t.true(largestDifference(logits, peftLogits.logits.lora ?? []) < 1e-4);
  const restored = await runHira("merge", `--unmerge=${merged}`, ...adapter, `--out=${back}`);
  t.is(restored.code, 0, restored.err);
  for (const name of await readdir(model))
    t.deepEqual(await readFile(join(back, name)), await readFile(join(model, name)), name);
});

test("it decodes as the model that says so (9.3)", async (t) => {
  const model = await makeMistied(t);
  const folder = await makeTempFolder(t);
  const input = join(folder, "prompts.jsonl");
  await writeFile(input, `${JSON.stringify({ input_ids: ids })}\n`);
  const answers = [];
  for (const path of [peftFixture("base"), model]) {
    const out = join(folder, `${String(answers.length)}.jsonl`);
    const files = [`--model=${path}`, `--input=${input}`, `--out=${out}`];
    const { code, err } = await runHira("generate", ...files, "--max_new_tokens=8");
    t.is(code, 0, err);
    answers.push(await readFile(out, "utf8"));
  }
  t.is(answers[1], answers[0]);
});

test("full fine-tuning trains both, writes both, and its merge has both (9.3)", async (t) => {
  const model = await makeMistied(t);
  const folder = await makeTempFolder(t);
  const rows = await writeTinyRows(folder);
  const flags = tinyRunFlags(rows).map((flag) =>
    flag.startsWith("--model=") ? `--model=${model}` : flag,
  );
  const { code, err } = await runHira(
    ...["train", ...flags, "--peft_type=fft", `--output_folder=${join(folder, "runs")}`],
  );
  t.is(code, 0, err);
  warnsOnce(t, err);
  const [run = ""] = await readdir(join(folder, "runs"));
  const merged = join(folder, "merged");
  const merging = await runHira("merge", `--ckpt=${join(folder, "runs", run)}`, `--out=${merged}`);
  t.is(merging.code, 0, merging.err);
  const written = await loadModelFolder(merged);
  t.like(written, { rawConfig: { tie_word_embeddings: false }, warnings: [] });
  const before = (await loadModelFolder(model)).weights;
  for (const name of ["lm_head.weight", "model.embed_tokens.weight"]) {
    const [old, fresh] = [before.get(name), written.weights.get(name)];
    const moved =
      old && fresh
        ? largestDifference(await readTensorAsFloat32(old), await readTensorAsFloat32(fresh))
        : NaN;
    t.true(moved > 1e-4 && moved < 0.2, `${name} ${String(moved)}`);
  }
});

test("a stale copy of a tied head does not survive the merge of a fine-tuned embedding (9.3)", async (t) => {
  const folder = await makeTempFolder(t);
  const copied = join(folder, "copied");
  const tied = await loadModelFolder(peftFixture("base-tied"));
  const embedding = tied.weights.get("model.embed_tokens.weight");
  if (!embedding) return t.fail();
  await writeModelFolder({
    path: copied,
    rawConfig: tied.rawConfig,
    tensors: [...tied.weights.values(), { ...embedding, name: "lm_head.weight" }].map((entry) => ({
      ...entry,
      data: () => readTensorAsFloat32(entry),
    })),
  });
  const rows = await writeTinyRows(folder);
  const flags = tinyRunFlags(rows).map((flag) =>
    flag.startsWith("--model=") ? `--model=${copied}` : flag,
  );
  const run = await trainTiny(t, join(folder, "runs"), "train", ...flags, "--peft_type=fft");
  const merged = join(folder, "merged");
  const { code, err } = await runHira("merge", `--ckpt=${run}`, `--out=${merged}`);
  t.is(code, 0, err);
  const { model, weights, warnings } = await loadModelFolder(merged);
  t.true(model.tieWordEmbeddings);
  t.deepEqual(warnings, []);
  t.false(weights.has("lm_head.weight"));
  const [a, b] = [
    await forwardLogits(t, ids, `--model=${merged}`),
    await forwardLogits(t, ids, `--ckpt=${run}`),
  ];
  t.true(largestDifference(a.logits, b.logits) < 1e-5);
});
