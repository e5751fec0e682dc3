import { fileURLToPath } from "node:url";
import { mkdir, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ExecutionContext } from "ava";
import test from "ava";
import { UserError } from "../../src/core/errors.js";
import { parseConfig } from "../../src/models/model-folder.js";
import { hashFile } from "../../src/core/file-hash.js";
import { hashInBackground } from "../../src/core/hash-in-background.js";
import { hashModelFiles, loadModelFolder } from "../../src/models/model-folder.js";
import type { TensorToWrite } from "../../src/models/weights/safetensors.js";
import { readTensorAsFloat32, writeSafetensors } from "../../src/models/weights/safetensors.js";
import { testWithShared } from "../support/shared.js";
import { makeTempFolder } from "../support/temp-folder.js";

const rawConfig = {
  model_type: "llama",
  vocab_size: 8,
  hidden_size: 4,
  intermediate_size: 6,
  num_hidden_layers: 1,
  num_attention_heads: 2,
};

const tensors = (): TensorToWrite[] =>
  [...parseConfig(rawConfig, "config.json").tensors].map(([name, shape]) => ({
    name,
    dtype: "float32",
    shape,
    data: new Float32Array(shape.reduce((n, d) => n * d)).fill(name.length),
  }));

const writeJson = (folder: string, name: string, value: unknown): Promise<void> =>
  writeFile(join(folder, name), typeof value === "string" ? value : JSON.stringify(value));

/** A folder with config.json, and model.safetensors unless told otherwise. */
const makeModel = async (
  t: ExecutionContext,
  {
    config = rawConfig,
    weights = tensors(),
  }: { config?: unknown; weights?: TensorToWrite[] | null } = {},
): Promise<string> => {
  const folder = await makeTempFolder(t);
  await writeJson(folder, "config.json", config);
  if (weights) await writeSafetensors(join(folder, "model.safetensors"), weights);
  return folder;
};

const errorOf = async (t: ExecutionContext, folder: string): Promise<UserError> =>
  t.throwsAsync(loadModelFolder(folder), { instanceOf: UserError });

test("loadModelFolder reads a folder with one weight file", async (t) => {
  const folder = await makeModel(t);
  const model = await loadModelFolder(folder);
  t.is(model.path, folder);
  t.is(model.model.hiddenSize, 4);
  t.deepEqual(model.rawConfig, rawConfig);
  t.is(model.weights.size, 12);
  t.deepEqual(model.files, ["config.json", "model.safetensors"]);
  t.deepEqual(model.tokenIds, { bosId: 1, eosIds: [2], padId: undefined });
  const hashes = await (await hashModelFiles(model))();
  t.deepEqual(Object.keys(hashes), ["config.json", "model.safetensors"]);
  t.regex(hashes["config.json"]!, /^[0-9a-f]{64}$/);
});

test("loadModelFolder takes token ids from generation_config.json first", async (t) => {
  const folder = await makeModel(t, { config: { ...rawConfig, pad_token_id: 5 } });
  await writeJson(folder, "generation_config.json", { bos_token_id: null, eos_token_id: [3, 4] });
  t.deepEqual((await loadModelFolder(folder)).tokenIds, { bosId: 1, eosIds: [3, 4], padId: 5 });
  await writeJson(folder, "generation_config.json", {
    bos_token_id: 6,
    eos_token_id: 7,
    pad_token_id: 0,
  });
  t.deepEqual((await loadModelFolder(folder)).tokenIds, { bosId: 6, eosIds: [7], padId: 0 });
  await writeJson(folder, "generation_config.json", { eos_token_id: "2" });
  t.regex((await errorOf(t, folder)).message, /generation_config.json: "eos_token_id": found "2"/);
});

/** Splits the tensors into two shards with an index; returns the folder and its index. */
const makeSharded = async (
  t: ExecutionContext,
  config: object = rawConfig,
  all = tensors(),
): Promise<{ folder: string; map: Record<string, string> }> => {
  const folder = await makeModel(t, { config, weights: null });
  const map: Record<string, string> = {};
  for (const [i, part] of [all.slice(0, 5), all.slice(5)].entries()) {
    const shard = `model-0000${String(i + 1)}-of-00002.safetensors`;
    await writeSafetensors(join(folder, shard), part);
    for (const { name } of part) map[name] = shard;
  }
  await writeJson(folder, "model.safetensors.index.json", { weight_map: map });
  return { folder, map };
};

test("loadModelFolder completes names that were saved without the model's prefix, in shards too", async (t) => {
  const config = {
    ...{ model_type: "opt", vocab_size: 8, hidden_size: 4, ffn_dim: 6 },
    ...{ num_hidden_layers: 1, num_attention_heads: 2, max_position_embeddings: 8 },
  };
  const { tensors: shapes } = parseConfig(config, "config.json");
  const bare = [...shapes].map(([name, shape]): TensorToWrite => {
    const data = new Float32Array(shape.reduce((n, d) => n * d)).fill(name.length);
    return { name: name.replace(/^model\./, ""), dtype: "float32", shape, data };
  });
  const { folder, map } = await makeSharded(t, config, bare);
  const { weights, shardOf } = await loadModelFolder(folder);
  t.deepEqual(new Set(weights.keys()), new Set(shapes.keys()));
  for (const [name, entry] of weights) {
    t.is(entry.name, name);
    t.is((await readTensorAsFloat32(entry))[0], name.length);
    t.is(shardOf.get(name), map[name.replace(/^model\./, "")]);
  }
  const [first] = bare;
  const both = [...bare, { ...first!, name: `model.${first!.name}` }];
  const { message } = await errorOf(t, await makeModel(t, { config, weights: both }));
  t.regex(message, /: "decoder\.[\w.]+": found .* expected no such tensor/);
});

test("loadModelFolder reads shards by their index", async (t) => {
  const { folder } = await makeSharded(t);
  const model = await loadModelFolder(folder);
  t.is(model.weights.size, 12);
  t.deepEqual(model.files, [
    "config.json",
    "model.safetensors.index.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
  ]);
  const name = "model.norm.weight";
  t.deepEqual(
    await readTensorAsFloat32(model.weights.get(name)!),
    new Float32Array(4).fill(name.length),
  );
});

test("loadModelFolder lists missing shards, misplaced tensors and outside paths in one error", async (t) => {
  const { folder, map } = await makeSharded(t);
  map["lm_head.weight"] = "../model.safetensors";
  map["model.norm.weight"] = "model-00001-of-00002.safetensors";
  await writeJson(folder, "model.safetensors.index.json", { weight_map: map });
  await rm(join(folder, "model-00002-of-00002.safetensors"));
  const { message } = await errorOf(t, folder);
  t.regex(message, /index.json lists: found 3 faults/);
  t.regex(
    message,
    /"lm_head.weight": found "..\/model.safetensors", expected the name of a file beside/,
  );
  t.regex(message, /"model.norm.weight": found no such tensor in model-00001-of-00002.safetensors/);
  t.regex(message, /model-00002-of-00002.safetensors: found no such file/);
});

test("loadModelFolder follows the Hub cache's symbolic links", async (t) => {
  const folder = await makeModel(t);
  const snapshot = join(await makeTempFolder(t), "snapshots", "abc");
  await mkdir(snapshot, { recursive: true });
  for (const name of ["config.json", "model.safetensors"])
    await symlink(join(folder, name), join(snapshot, name));
  const { weights } = await loadModelFolder(snapshot);
  t.is(weights.get("model.norm.weight")!.file, join(folder, "model.safetensors"));
});

test("loadModelFolder says what to do about a Hub id, a missing folder, a file and a GGUF", async (t) => {
  const id = await errorOf(t, "test/Meta-Llama-3-8B");
  t.regex(id.message, /found no such folder, expected one with config.json/);
  t.regex(id.hint ?? "", /test\/Meta-Llama-3-8B@main is the model on the Hub/);
  const folder = await makeTempFolder(t);
  t.regex((await errorOf(t, join(folder, "none"))).hint ?? "", /^Give the folder of a model/);
  await writeJson(folder, "model.gguf", "");
  const gguf = await errorOf(t, join(folder, "model.gguf"));
  t.regex(gguf.message, /expected a GGUF file, which begins with GGUF/);
  t.regex((await errorOf(t, join(folder, "none.gguf"))).message, /no such file/);
});

test("loadModelFolder refuses pickles, adapters and folders without weights, each with a hint", async (t) => {
  const folder = await makeModel(t, { weights: null });
  t.regex((await errorOf(t, folder)).message, /found no weights, expected model.safetensors or/);
  await writeJson(folder, "pytorch_model.bin", "");
  const pickle = await errorOf(t, folder);
  t.regex(pickle.message, /found only pickles/);
  t.regex(pickle.hint ?? "", /save_pretrained/);
  const adapter = await makeTempFolder(t);
  t.regex((await errorOf(t, adapter)).message, /found no config.json/);
  await writeJson(adapter, "adapter_config.json", {});
  t.regex((await errorOf(t, adapter)).hint ?? "", /This is an adapter/);
});

test("loadModelFolder refuses an unknown model_type and names those it knows", async (t) => {
  const near = await errorOf(
    t,
    await makeModel(t, { config: { ...rawConfig, model_type: "lama" } }),
  );
  t.regex(near.message, /config.json: found model_type "lama", expected one of (?:\w+, )*llama,/);
  t.is(near.hint, 'Did you mean "llama"?');
  const none = await errorOf(t, await makeModel(t, { config: { model_type: "toString" } }));
  t.regex(none.message, /found model_type "toString"/);
});

test("loadModelFolder names the line of broken JSON, and wrong tensors all at once", async (t) => {
  const broken = await makeModel(t, { config: '{\n  "model_type": "llama",\n  oops\n}' });
  t.regex((await errorOf(t, broken)).message, /config.json, line 3/);
  t.regex(
    (await errorOf(t, await makeModel(t, { config: "[]" }))).message,
    /found \[\], expected a JSON object/,
  );
  const { message } = await errorOf(t, await makeModel(t, { weights: tensors().slice(2) }));
  t.regex(
    message,
    /found 2 faults\n {2}"model.embed_tokens.weight": found nothing, expected \[8, 4\]\n/,
  );
});

testWithShared(
  "loadModelFolder loads the goldens' model",
  "goldens/tiny-llama",
  async (t, path) => {
    const { model, weights, tokenIds } = await loadModelFolder(path);
    t.like(model, { layers: 2, hiddenSize: 64, kvHeads: 2, headDim: 16 });
    t.deepEqual(tokenIds, { bosId: 1, eosIds: [2], padId: 3 });
    t.is(weights.size, 21);
  },
);

testWithShared(
  "loadModelFolder loads a tied model with a generation config",
  "data/models/stories260K",
  async (t, path) => {
    const { model, files, weights } = await loadModelFolder(path);
    t.true(model.tieWordEmbeddings);
    t.deepEqual(files, ["config.json", "generation_config.json", "model.safetensors"]);
    t.is(weights.size, 47);
  },
);

test("hashInBackground gives on a thread what it gives without one, and the error of a missing file", async (t) => {
  const paths = [
    fileURLToPath(import.meta.url),
    fileURLToPath(new URL("../../package.json", import.meta.url)),
  ];
  const [here, aside] = [
    await (await hashInBackground(paths))(),
    await (await hashInBackground(paths, { threadFrom: 0 }))(),
  ];
  t.deepEqual(aside, here);
  t.is(here[0], (await hashFile(paths[0] ?? "")).sha256);
  const missing = await hashInBackground(["/nowhere/model.safetensors"], { threadFrom: 0 });
  await t.throwsAsync(missing, { message: /Cannot read \/nowhere\/model.safetensors/ });
});
