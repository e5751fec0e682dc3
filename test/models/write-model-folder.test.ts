import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import type { TypedArray } from "../../src/core/dtype.js";
import { UserError } from "../../src/core/errors.js";
import { parseConfig } from "../../src/models/model-folder.js";
import { loadModelFolder } from "../../src/models/model-folder.js";
import type { TensorToWrite } from "../../src/models/weights/safetensors.js";
import { readTensorData } from "../../src/models/weights/safetensors.js";
import { writeModelFolder } from "../../src/models/write-model-folder.js";
import { makeTempFolder } from "../support/temp-folder.js";

const rawConfig = {
  model_type: "llama",
  torch_dtype: "float32",
  vocab_size: 8,
  hidden_size: 4,
  intermediate_size: 6,
  num_hidden_layers: 2,
  num_attention_heads: 2,
};

const tensors = (): TensorToWrite[] =>
  [...parseConfig(rawConfig, "config.json").tensors].map(([name, shape], i) => ({
    name,
    dtype: "float32",
    shape,
    data: () => new Float32Array(shape.reduce((n, d) => n * d)).fill(i + 1 / 3),
  }));

const readAll = async (folder: string): Promise<Map<string, TypedArray>> => {
  const { weights } = await loadModelFolder(folder);
  const data = new Map<string, TypedArray>();
  for (const [name, entry] of weights) data.set(name, await readTensorData(entry));
  return data;
};

const expected = (): Map<string, TypedArray> =>
  new Map(tensors().map(({ name, data }) => [name, (data as () => TypedArray)()]));

test("writeModelFolder writes what loadModelFolder reads, with the tokenizer's files", async (t) => {
  const base = await makeTempFolder(t);
  await writeFile(join(base, "tokenizer.json"), "{}");
  await writeFile(join(base, "generation_config.json"), '{"eos_token_id": [2, 3]}');
  await writeFile(join(base, "notes.txt"), "not a part of the model");
  const path = join(await makeTempFolder(t), "merged");
  await writeModelFolder({ path, rawConfig, tensors: tensors(), copyFrom: base });
  t.deepEqual((await readdir(path)).sort(), [
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
  ]);
  t.deepEqual(await readAll(path), expected());
  t.deepEqual((await loadModelFolder(path)).tokenIds.eosIds, [2, 3]);
});

test("writeModelFolder splits at maxShardBytes, and removes the files of an earlier model", async (t) => {
  const path = await makeTempFolder(t);
  await writeModelFolder({ path, rawConfig, tensors: tensors() });
  await writeModelFolder({ path, rawConfig, tensors: tensors(), maxShardBytes: 400 });
  const names = await readdir(path);
  t.false(names.includes("model.safetensors"));
  const model = await loadModelFolder(path);
  t.deepEqual(
    names.filter((name) => name.endsWith(".safetensors")).sort(),
    [...new Set(model.shardOf.values())].sort(),
  );
  t.true(names.includes("model-00001-of-00004.safetensors"), names.join(", "));
  // The index has its names in order, so the tensors come in another one.
  const read = await readAll(path);
  t.deepEqual([...read.keys()].sort(), [...expected().keys()].sort());
  for (const [name, data] of expected()) t.deepEqual(read.get(name), data);
  const index = JSON.parse(await readFile(join(path, "model.safetensors.index.json"), "utf8")) as {
    metadata: { total_size: number };
  };
  t.is(
    index.metadata.total_size,
    4 * [...expected().values()].reduce((n, { length }) => n + length, 0),
  );

  await writeModelFolder({ path, rawConfig, tensors: tensors() });
  t.deepEqual((await readdir(path)).sort(), ["config.json", "model.safetensors"]);
});

test("writeModelFolder keeps the shards of the model that was loaded", async (t) => {
  const path = await makeTempFolder(t);
  const copy = await makeTempFolder(t);
  await writeModelFolder({ path, rawConfig, tensors: tensors(), maxShardBytes: 600 });
  const { shardOf } = await loadModelFolder(path);
  await writeModelFolder({ path: copy, rawConfig, tensors: tensors(), shardOf });
  t.deepEqual((await loadModelFolder(copy)).shardOf, shardOf);
  await t.throwsAsync(
    writeModelFolder({ path: copy, rawConfig, tensors: tensors(), shardOf: new Map() }),
    { instanceOf: RangeError },
  );
});

test("writeModelFolder rounds to the dtype that is asked for and says so in config.json", async (t) => {
  const path = await makeTempFolder(t);
  await writeModelFolder({ path, rawConfig, tensors: tensors(), dtype: "bfloat16" });
  const { weights, rawConfig: written } = await loadModelFolder(path);
  t.is(written.torch_dtype, "bfloat16");
  const entry = weights.get("model.embed_tokens.weight")!;
  t.is(entry.dtype, "bfloat16");
  t.deepEqual(await readTensorData(entry), new Uint16Array(32).fill(0x3eab)); // 1/3
});

test("writeModelFolder refuses values that the dtype cannot hold", async (t) => {
  const path = await makeTempFolder(t);
  const large = tensors().map((tensor, i) =>
    i === 3 ? { ...tensor, data: () => Float32Array.from({ length: 4 }, () => 7e4) } : tensor,
  );
  const error = await t.throwsAsync(
    writeModelFolder({ path, rawConfig, tensors: large, dtype: "float16" }),
    { instanceOf: UserError },
  );
  t.regex(error.message, /as float16: found 70000, which float16 cannot hold/);
  t.deepEqual(await readdir(path), []);
});

test("writeModelFolder writes softcaps with a decimal point, without which transformers refuses them", async (t) => {
  const path = await makeTempFolder(t);
  const caps = { attn_logit_softcapping: 50, final_logit_softcapping: 30 };
  await writeModelFolder({ path, rawConfig: { ...rawConfig, ...caps }, tensors: tensors() });
  const text = await readFile(join(path, "config.json"), "utf8");
  t.regex(text, /"attn_logit_softcapping": 50\.0,$/m);
  t.regex(text, /"final_logit_softcapping": 30\.0,?$/m);
  t.is((JSON.parse(text) as typeof caps).final_logit_softcapping, 30);
});
