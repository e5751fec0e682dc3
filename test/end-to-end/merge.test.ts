import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { narrowFloat32 } from "../../src/core/half.js";
import { loadModelFolder } from "../../src/models/model-folder.js";
import {
  readSafetensorsHeader,
  readTensorAsFloat32,
  readTensorData,
  writeSafetensors,
} from "../../src/models/weights/safetensors.js";
import { writeModelFolder } from "../../src/models/write-model-folder.js";
import { largestDifference } from "../support/adapted-model.js";
import { peftFixture } from "../support/adapter-base.js";
import { forwardLogits } from "../support/forward-logits.js";
import { runHira } from "../support/run-hira.js";
import { makeTempFolder } from "../support/temp-folder.js";

const base = peftFixture("base");
const ids = [1, 5, 9, 3, 7, 2, 11, 4];

/** A model's tensors as they are stored, by name. */
const storedTensors = async (folder: string) => {
  const { weights } = await loadModelFolder(folder);
  const read = [...weights].map(
    async ([name, entry]) =>
      [name, { dtype: entry.dtype, data: await readTensorData(entry) }] as const,
  );
  return new Map(await Promise.all(read));
};

/** The tiny base in several files. */
const writeShardedBase = async (
  folder: string,
  dtype: "bfloat16" | "float32" = "bfloat16",
): Promise<string> => {
  const { rawConfig, weights } = await loadModelFolder(base);
  const path = join(folder, "sharded-base");
  await writeModelFolder({
    path,
    rawConfig: { ...rawConfig, note: "kept" },
    tensors: [...weights.values()].map((entry) => ({
      ...entry,
      data: () => readTensorData(entry),
    })),
    dtype,
    maxShardBytes: 1500,
    copyFrom: base,
  });
  await writeFile(join(path, "tokenizer_config.json"), "{}\n");
  return path;
};

/** The logits of what `flags` name on one row. */
const logitsOf = async (t: ExecutionContext, ...flags: readonly string[]): Promise<Float32Array> =>
  (await forwardLogits(t, ids, ...flags)).logits;

for (const fixture of ["hira", "lora", "rslora", "dora", "lora-saved", "hira-saved"]) {
  test(`hira merge writes a model with the adapter's logits: ${fixture}`, async (t) => {
    const [method = ""] = fixture.split("-");
    const out = join(await makeTempFolder(t), "merged");
    const adapter = [`--ckpt=${peftFixture(fixture)}`, `--model=${base}`];
    const { code, out: text, err } = await runHira("merge", ...adapter, `--out=${out}`);
    t.is(code, 0, err);
    t.regex(text, new RegExp(`Merged ${method} of .*, float32, 1 weight file as the base`));
    t.regex(text, /at 256 of 256 positions \(4 rows of random token ids, a sample of our own\)/);
    const [merged, unmerged, plain] = [
      await logitsOf(t, `--model=${out}`),
      await logitsOf(t, ...adapter),
      await logitsOf(t, `--model=${base}`),
    ];
    t.is(merged.length, ids.length * 16);
    t.true(largestDifference(merged, unmerged) < 1e-5);
    t.true(largestDifference(merged, plain) > 1e-3);
  });
}

for (const fixture of ["dora-saved-tied-head", "lora-saved-tied-embedding"])
  test(`hira merge unties what training has told apart, and finds the way back: ${fixture}`, async (t) => {
    const folder = await makeTempFolder(t);
    const [out, restored] = [join(folder, "merged"), join(folder, "restored")];
    const tied = peftFixture("base-tied");
    const adapter = [`--ckpt=${peftFixture(fixture)}`, `--model=${tied}`];
    const { code, out: text, err } = await runHira("merge", ...adapter, `--out=${out}`);
    t.is(code, 0, err);
    t.regex(text, /The base ties its head to its embedding, and training has told them apart/);
    t.regex(text, /at 256 of 256 positions/);
    const { model, weights, rawConfig } = await loadModelFolder(out);
    t.false(model.tieWordEmbeddings);
    t.like(rawConfig, { tie_word_embeddings: false });
    t.deepEqual(weights.get("lm_head.weight")?.shape, [16, 8]);
    const [merged, unmerged, plain] = [
      await logitsOf(t, `--model=${out}`),
      await logitsOf(t, ...adapter),
      await logitsOf(t, `--model=${tied}`),
    ];
    t.true(largestDifference(merged, unmerged) < 1e-5);
    t.true(largestDifference(merged, plain) > 1e-3);

    const back = await runHira("merge", `--unmerge=${out}`, ...adapter, `--out=${restored}`);
    t.is(back.code, 0, back.err);
    for (const name of await readdir(tied))
      t.deepEqual(await readFile(join(restored, name)), await readFile(join(tied, name)), name);
  });

test("hira merge keeps the base's dtype, files, config and tokenizer, and rounds once", async (t) => {
  const folder = await makeTempFolder(t);
  const sharded = await writeShardedBase(folder);
  const out = join(folder, "merged");
  const ckpt = `--ckpt=${peftFixture("lora")}`;
  const {
    code,
    out: text,
    err,
  } = await runHira(...["merge", ckpt, `--model=${sharded}`, `--out=${out}`]);
  t.is(code, 0, err);
  t.regex(
    text,
    /with the merged weights in float32: \S+; what is above it is the rounding of the weights to bfloat16/,
  );
  const [before, after] = [await loadModelFolder(sharded), await loadModelFolder(out)];
  t.true(before.files.length > 4);
  t.deepEqual((await readdir(out)).sort(), (await readdir(sharded)).sort());
  t.deepEqual(after.shardOf, before.shardOf);
  t.deepEqual(after.rawConfig, before.rawConfig);

  // The same in float32, rounded here.
  const wide = join(folder, "wide-base");
  await writeModelFolder({
    path: wide,
    rawConfig: before.rawConfig,
    tensors: [...before.weights.values()].map((entry) => ({
      ...entry,
      data: () => readTensorData(entry),
    })),
    dtype: "float32",
  });
  const wideOut = join(folder, "wide");
  t.is((await runHira("merge", ckpt, `--model=${wide}`, `--out=${wideOut}`)).code, 0);
  const [narrow, exact] = [await storedTensors(out), await storedTensors(wideOut)];
  t.is(narrow.size, exact.size);
  for (const [name, { dtype, data }] of narrow) {
    t.is(dtype, "bfloat16");
    t.deepEqual(data, narrowFloat32(exact.get(name)?.data as Float32Array, "bfloat16"), name);
  }
});

test("hira merge --unmerge gives the base again, bit for bit", async (t) => {
  const folder = await makeTempFolder(t);
  const sharded = await writeShardedBase(folder);
  const merged = join(folder, "merged");
  const adapter = [`--ckpt=${peftFixture("hira")}`, `--model=${sharded}`];
  t.is((await runHira("merge", ...adapter, `--out=${merged}`)).code, 0);
  const out = join(folder, "restored");
  const run = await runHira("merge", `--unmerge=${merged}`, ...adapter, `--out=${out}`);
  t.is(run.code, 0, run.err);
  t.regex(run.out, /the largest difference of a weight is 0, so it is the same bit for bit/);
  const names = (await readdir(sharded)).sort();
  t.deepEqual((await readdir(out)).sort(), names);
  for (const name of names)
    t.deepEqual(await readFile(join(out, name)), await readFile(join(sharded, name)), name);
});

test("hira merge --unmerge allows another program's rounding, and nothing else", async (t) => {
  const folder = await makeTempFolder(t);
  const merged = join(folder, "merged");
  const adapter = [`--ckpt=${peftFixture("lora")}`, `--model=${base}`];
  t.is((await runHira("merge", ...adapter, `--out=${merged}`)).code, 0);
  const { weights, rawConfig } = await loadModelFolder(merged);
  const changed = async (
    name: string,
    change: (data: Float32Array, tensor: string) => void,
  ): Promise<string> => {
    const path = join(folder, name);
    await writeModelFolder({
      path,
      rawConfig,
      tensors: [...weights.values()].map((entry) => ({
        ...entry,
        data: async () => {
          const data = await readTensorAsFloat32(entry);
          change(data, entry.name);
          return data;
        },
      })),
    });
    return path;
  };
  const unmerge = (path: string) =>
    runHira("merge", `--unmerge=${path}`, ...adapter, `--out=${join(folder, "out")}`);
  const target = "model.layers.0.self_attn.q_proj.weight";

  const other = await changed("other", (data) => (data[3] = (data[3] ?? 0) + 1));
  const refused = await unmerge(other);
  t.is(refused.code, 2);
  t.regex(
    refused.err,
    /Cannot unmerge .*other: it is not .*base with lora of .*lora: found 15 faults/,
  );
  t.regex(
    refused.err,
    /"lm_head.weight": found values up to 1 away, where merging changes it by up to 0\n/,
  );
  t.is((await unmerge(base)).code, 2);
  t.deepEqual((await readdir(folder)).sort(), ["merged", "other"]);

  const rounded = await changed("rounded", (data, name) => {
    if (name === target) data[3] = (data[3] ?? 0) + 1e-7;
  });
  const allowed = await unmerge(rounded);
  t.is(allowed.code, 0, allowed.err);
  t.regex(allowed.out, /the largest difference of a weight is (?:[\d.]+e-[78])\n/);
});

test("hira merge merges what a run has trained, full fine-tuning too", async (t) => {
  const folder = await makeTempFolder(t);
  const sharded = await writeShardedBase(folder, "float32");
  const rows = join(folder, "rows.jsonl");
  await writeFile(rows, JSON.stringify({ input_ids: ids, labels: ids }));
  for (const method of ["mora", "hilora", "sparse-lora", "fft"]) {
    const runs = join(folder, method);
    const trained = await runHira(
      ...[`--peft_type=${method}`, `--model=${sharded}`, `--dataset=${rows}`, "--r_ab=2"],
      ...["--eval_strategy=no", "--max_steps=3", "--lr=0.05", "--warmup=0"],
      ...(method === "sparse-lora" ? ["--sparsity=0.25"] : []),
      `--output_folder=${runs}`,
    );
    t.is(trained.code, 0, trained.err);
    const [run = ""] = await readdir(runs);
    const out = join(folder, `${method}-merged`);
    const { code, err } = await runHira("merge", `--ckpt=${join(runs, run)}`, `--out=${out}`);
    t.is(code, 0, err);
    t.deepEqual((await loadModelFolder(out)).shardOf, (await loadModelFolder(sharded)).shardOf);
    const [merged, unmerged, plain] = [
      await logitsOf(t, `--model=${out}`),
      await logitsOf(t, `--ckpt=${join(runs, run)}`),
      await logitsOf(t, `--model=${sharded}`),
    ];
    const difference = largestDifference(merged, unmerged);
    t.true(difference < 1e-5, `${method}: ${String(difference)}`);
    t.true(largestDifference(unmerged, plain) > 0.01, method);
  }
});

test("hira merge rounds what full fine-tuning has made to the base's dtype", async (t) => {
  const folder = await makeTempFolder(t);
  const sharded = await writeShardedBase(folder);
  const rows = join(folder, "rows.jsonl");
  await writeFile(rows, JSON.stringify({ input_ids: ids, labels: ids }));
  const runs = join(folder, "runs");
  const trained = await runHira(
    ...["--peft_type=fft", `--model=${sharded}`, `--dataset=${rows}`, "--eval_strategy=no"],
    ...["--max_steps=1", "--lr=0.05", "--warmup=0", `--output_folder=${runs}`],
  );
  t.is(trained.code, 0, trained.err);
  const [run = ""] = await readdir(runs);
  const out = join(folder, "merged");
  const {
    code,
    out: text,
    err,
  } = await runHira(...["merge", `--ckpt=${join(runs, run)}`, `--out=${out}`]);
  t.is(code, 0, err);
  t.regex(text, /to the unmerged checkpoint: [^]* all of it is the rounding of the weights to bf/);
  t.deepEqual((await loadModelFolder(out)).shardOf, (await loadModelFolder(sharded)).shardOf);
  const [merged, tuned] = [
    await storedTensors(out),
    await storedTensors(join(runs, run, "checkpoint-1")),
  ];
  for (const [name, { data }] of tuned)
    t.deepEqual(merged.get(name)?.data, narrowFloat32(data as Float32Array, "bfloat16"), name);
});

test("hira merge refuses values that are not finite, and leaves nothing", async (t) => {
  const folder = await makeTempFolder(t);
  const { entries } = await readSafetensorsHeader(
    join(peftFixture("lora"), "adapter_model.safetensors"),
  );
  const broken = join(folder, "broken");
  await writeSafetensors(
    join(broken, "adapter_model.safetensors"),
    [...entries.values()].map((entry) => ({
      ...entry,
      data: async () => (await readTensorAsFloat32(entry)).fill(1e30),
    })),
  );
  await writeFile(
    join(broken, "adapter_config.json"),
    await readFile(join(peftFixture("lora"), "adapter_config.json")),
  );
  const out = join(folder, "merged");
  const { code, err } = await runHira(
    "merge",
    `--ckpt=${broken}`,
    `--model=${base}`,
    `--out=${out}`,
  );
  t.is(code, 2);
  t.regex(err, /"model\.layers\.0\.\S+": found \d+ of \d+ values that are not finite in float32/);
  t.deepEqual(await readdir(folder), ["broken"]);
});

test("hira merge writes into new and empty folders only", async (t) => {
  const folder = await makeTempFolder(t);
  const sharded = await writeShardedBase(folder);
  const before = await storedTensors(sharded);
  const adapter = ["merge", `--ckpt=${peftFixture("lora")}`, `--model=${sharded}`];
  const inPlace = await runHira(...adapter, `--out=${sharded}`);
  t.is(inPlace.code, 2);
  t.regex(inPlace.err, /Cannot merge in place: found a model in .*sharded-base, expected --out/);
  t.deepEqual(await storedTensors(sharded), before);
  t.regex((await runHira(...adapter, `--out=${folder}`)).err, /found sharded-base, expected a new/);
});

for (const [name, flags, message] of [
  ["prefix", [`--ckpt=${peftFixture("prefix")}`], /Cannot merge prefix: found virtual tokens/],
  ["p-tuning", [`--ckpt=${peftFixture("p-tuning")}`], /Cannot merge p-tuning: found virtual/],
  ["a plain model", [`--ckpt=${base}`], /Cannot merge .*base: found a plain model, expected/],
  ["no --ckpt", [], /--ckpt: found nothing, expected a folder/],
  [
    "--input with --unmerge",
    [`--ckpt=${base}`, "--unmerge=x", "--input=y.jsonl"],
    /--input: found it beside --unmerge/,
  ],
] as const) {
  test(`hira merge refuses ${name}`, async (t) => {
    const out = join(await makeTempFolder(t), "merged");
    const { code, err } = await runHira("merge", `--model=${base}`, ...flags, `--out=${out}`);
    t.is(code, 2);
    t.regex(err, message);
  });
}
