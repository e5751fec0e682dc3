import { readFileSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import test, { type ExecutionContext } from "ava";
import { UserError } from "../../../src/core/errors.js";
import { requireFreeSpace } from "../../../src/core/free-space.js";
import type { JsonObject } from "../../../src/core/json-file.js";
import { randomStream } from "../../../src/core/random.js";
import { encodeTensor } from "../../../src/models/gguf/encode-tensor.js";
import {
  planAdapterGguf,
  planModelGguf,
  type OutType,
} from "../../../src/models/gguf/export-gguf.js";
import { readGguf } from "../../../src/models/gguf/read-gguf.js";
import { ggufByteLength, writeGguf } from "../../../src/models/gguf/write-gguf.js";
import { openCompanions } from "../../../src/models/model-files.js";
import { loadModelFolder, numbersOfConfig, parseConfig } from "../../../src/models/model-folder.js";
import {
  readSafetensorsHeader,
  readTensorAsFloat32,
  readTensorData,
  writeSafetensors,
} from "../../../src/models/weights/safetensors.js";
import { loadTokenizer } from "../../../src/tokenizer/load-tokenizer.js";
import { distance, readBatch, realLogits } from "../../support/goldens.js";
import { makeTempFolder } from "../../support/temp-folder.js";

const fixture = (path: string): string =>
  fileURLToPath(new URL(`../../fixtures/${path}`, import.meta.url));

/** Exports a model folder, and gives the file's path and what was said beside it. */
const exportFolder = async (
  t: ExecutionContext,
  folder: string,
  outType: OutType = "f32",
): Promise<{ readonly file: string; readonly warnings: readonly string[] }> => {
  const { model, rawConfig, weights, path } = await loadModelFolder(folder);
  const planned = await planModelGguf({
    ...{ path, model, rawConfig, title: "tiny", outType },
    companions: await openCompanions(folder),
    async read(name) {
      const entry = weights.get(name);
      if (!entry) throw new RangeError(name);
      return readTensorAsFloat32(entry);
    },
  });
  const file = join(await makeTempFolder(t), "tiny.gguf");
  await writeGguf(file, planned.file);
  t.is(readFileSync(file).length, ggufByteLength(planned.file));
  return { file, warnings: planned.warnings };
};

/** A folder with random weights of a config.json. */
const makeFolder = async (t: ExecutionContext, config: JsonObject): Promise<string> => {
  const folder = join(await makeTempFolder(t), "model");
  await mkdir(folder);
  await writeFile(join(folder, "config.json"), JSON.stringify(config));
  const stream = randomStream(5, "weights");
  await writeSafetensors(
    join(folder, "model.safetensors"),
    [...parseConfig(config, "config.json").tensors].map(([name, shape]) => ({
      name,
      shape,
      dtype: "float32",
      data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => stream.normal()),
    })),
  );
  return folder;
};

const llama = {
  model_type: "llama",
  vocab_size: 24,
  hidden_size: 32,
  intermediate_size: 40,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 512,
  bos_token_id: 1,
  eos_token_id: 2,
  pad_token_id: null,
};

for (const type of ["F16", "BF16", "Q8_0"] as const)
  test(`encodeTensor gives the bytes of quantize of the gguf package: ${type}`, async (t) => {
    const { entries } = await readSafetensorsHeader(fixture("gguf/blocks.safetensors"));
    const [source, encoded] = [entries.get(`${type}.source`), entries.get(`${type}.encoded`)];
    if (!source || !encoded) return t.fail("no fixture");
    const bytes = encodeTensor("x", type, await readTensorAsFloat32(source));
    t.deepEqual([...bytes], [...((await readTensorData(encoded)) as Uint8Array)]);
  });

test("encodeTensor refuses what is not finite and what float16 cannot hold", (t) => {
  const message = (type: "F16" | "Q8_0" | "BF16", ...values: readonly number[]): string =>
    t.throws(() => encodeTensor("x", type, Float32Array.from(values)), { instanceOf: UserError })
      .message;
  t.regex(message("BF16", 1, NaN), /"x": found 1 of 2 values that are not finite/);
  t.regex(message("F16", 1, 70000), /"x" as F16: found 70000, which float16 cannot hold/);
  t.regex(message("Q8_0", ...Array<number>(32).fill(1e7)), /"x" as Q8_0: found 10000000/);
});

const families: Readonly<Record<string, JsonObject>> = {
  "a Llama with biases, a head of its own and llama3 scaling": {
    ...llama,
    attention_bias: true,
    mlp_bias: true,
    head_dim: 16,
    rope_theta: 500000,
    rope_scaling: {
      rope_type: "llama3",
      factor: 8,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 8192,
    },
  },
  "a tied Llama with linear scaling": {
    ...llama,
    tie_word_embeddings: true,
    rms_norm_eps: 1e-5,
    rope_scaling: { rope_type: "linear", factor: 2 },
  },
  "a Mistral with a window": { ...llama, model_type: "mistral", sliding_window: 128 },
  "a Qwen2": { ...llama, model_type: "qwen2", rope_theta: 1e6 },
  "a Qwen3": { ...llama, model_type: "qwen3", head_dim: 16 },
};
for (const [name, config] of Object.entries(families))
  test(`planModelGguf writes what loadModelFolder reads, bit for bit: ${name}`, async (t) => {
    const folder = await makeFolder(t, config);
    const { file, warnings } = await exportFolder(t, folder);
    const [given, read] = [await loadModelFolder(folder), await loadModelFolder(file)];
    const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));
    t.deepEqual(plain(read.model), plain(given.model));
    t.deepEqual([...read.weights.keys()].sort(), [...given.weights.keys()].sort());
    for (const [tensor, entry] of read.weights) {
      const original = given.weights.get(tensor);
      if (!original) return t.fail(tensor);
      t.deepEqual(await readTensorAsFloat32(entry), await readTensorAsFloat32(original), tensor);
    }
    t.true(warnings.some((warning) => warning.includes("no tokenizer.json")));
    t.is(
      warnings.some((warning) => warning.includes("no attention windows")),
      config.sliding_window !== undefined,
    );
  });

// See scripts/reference/gguf_models.py: the gguf package has written these from the models of the families.
for (const family of ["mistral", "qwen2", "qwen3"])
  test(`loadModelFolder reads a file of the gguf package as the folder that it was made from: ${family}`, async (t) => {
    const file = await loadModelFolder(fixture(`gguf/${family}.gguf`));
    const folder = await loadModelFolder(fixture(`models/families/${family}/model`));
    const sizes = (value: object): unknown =>
      JSON.parse(JSON.stringify({ ...value, ...(family !== "mistral" && { windows: undefined }) }));
    t.deepEqual(sizes(file.model), sizes(folder.model));
    t.deepEqual([...file.weights.keys()].sort(), [...folder.weights.keys()].sort());
    for (const [name, entry] of file.weights) {
      const original = folder.weights.get(name);
      if (!original) return t.fail(name);
      t.deepEqual(await readTensorAsFloat32(entry), await readTensorAsFloat32(original), name);
    }
  });

/** What llama.cpp's converter leaves out of a file, as the file is read without it. */
const unsaid: Readonly<Record<string, JsonObject>> = {
  phi3: {},
  gpt2: { scale_attn_by_inverse_layer_idx: false },
  gemma: {},
  gemma2: { query_pre_attn_scalar: 8 },
};
for (const [family, change] of Object.entries(unsaid))
  test(`a file of the gguf package has the logits of the folder that it was made from: ${family}`, async (t) => {
    const source = fixture(`models/families/${family}`);
    const file = await loadModelFolder(fixture(`gguf/${family}.gguf`));
    const folder = await loadModelFolder(join(source, "model"));
    const config = { ...folder.rawConfig, ...change };
    t.deepEqual(
      JSON.parse(numbersOfConfig(file.rawConfig, "file")),
      JSON.parse(numbersOfConfig(config, "folder")),
    );
    t.deepEqual([...file.weights.keys()].sort(), [...folder.weights.keys()].sort());
    for (const [name, entry] of file.weights) {
      const original = folder.weights.get(name);
      if (!original) return t.fail(name);
      t.deepEqual(entry.shape, original.shape);
      const [found, expected] = [
        await readTensorAsFloat32(entry),
        await readTensorAsFloat32(original),
      ];
      // One added and taken away again rounds.
      const limit = family.startsWith("gemma") && name.endsWith("norm.weight") ? 1.2e-7 : 0;
      t.true(
        expected.every((value, i) => Math.abs(value - (found[i] ?? NaN)) <= limit),
        name,
      );
    }
    const batch = await readBatch(join(source, "batch.safetensors"));
    const model = parseConfig(config, "folder");
    const expected = await realLogits({ model, weights: folder.weights }, batch);
    const error = distance(await realLogits(file, batch), expected);
    t.true(error < 1e-6, String(error));
  });

test("planModelGguf keeps vectors in float32, and rows without whole blocks in float16", async (t) => {
  const { file } = await exportFolder(t, await makeFolder(t, llama), "q8_0");
  const types = new Map(
    [...(await readGguf(file)).tensors].map(([name, { type }]) => [name, type.name]),
  );
  t.is(types.get("blk.0.attn_norm.weight"), "F32");
  t.is(types.get("blk.0.attn_q.weight"), "Q8_0");
  t.is(types.get("blk.0.ffn_down.weight"), "F16");
  t.is(types.get("token_embd.weight"), "Q8_0");
});

test("planModelGguf refuses families, windows and rules that llama.cpp does not have", async (t) => {
  const message = async (config: JsonObject): Promise<string> =>
    (
      await t.throwsAsync(async () => exportFolder(t, await makeFolder(t, config)), {
        instanceOf: UserError,
      })
    ).message;
  t.regex(
    await message({
      model_type: "opt",
      vocab_size: 24,
      hidden_size: 32,
      num_attention_heads: 4,
      num_hidden_layers: 1,
      ffn_dim: 8,
      max_position_embeddings: 16,
    }),
    /as GGUF: found model_type "opt", expected one of llama, mistral/,
  );
  t.regex(
    await message({
      ...{ ...llama, model_type: "qwen2", use_sliding_window: true },
      ...{ sliding_window: 64, max_window_layers: 1 },
    }),
    /"sliding_window": found windows of/,
  );
});

/** A SentencePiece tokenizer in its fast form: letters, a few merges, bytes. */
const sentencePiece = (): JsonObject => {
  const bytes = Array.from(
    { length: 256 },
    (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, "0")}>`,
  );
  const pieces = [
    "<unk>",
    "<s>",
    "</s>",
    ...bytes,
    "▁",
    ..."abcdehint",
    "th",
    "▁th",
    "the",
    "▁the",
  ];
  const special = { single_word: false, lstrip: false, rstrip: false, normalized: false };
  return {
    added_tokens: ["<unk>", "<s>", "</s>"].map((content, id) => ({
      ...{ id, content, special: true },
      ...special,
    })),
    normalizer: {
      type: "Sequence",
      normalizers: [
        { type: "Prepend", prepend: "▁" },
        { type: "Replace", pattern: { String: " " }, content: "▁" },
      ],
    },
    pre_tokenizer: null,
    post_processor: {
      type: "TemplateProcessing",
      single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
      pair: [{ Sequence: { id: "A", type_id: 0 } }, { Sequence: { id: "B", type_id: 1 } }],
      special_tokens: { "<s>": { id: "<s>", ids: [1], tokens: ["<s>"] } },
    },
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "▁" }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        { type: "Strip", content: " ", start: 1, stop: 0 },
      ],
    },
    model: {
      type: "BPE",
      unk_token: "<unk>",
      fuse_unk: true,
      byte_fallback: true,
      vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])),
      merges: ["t h", "▁ th", "th e", "▁th e"],
    },
  };
};

test("planModelGguf writes a SentencePiece tokenizer, which reads the same texts", async (t) => {
  const json = sentencePiece();
  const folder = await makeFolder(t, { ...llama, vocab_size: 280 });
  await writeFile(join(folder, "tokenizer.json"), JSON.stringify(json));
  await writeFile(
    join(folder, "tokenizer_config.json"),
    JSON.stringify({
      ...{ bos_token: "<s>", eos_token: { content: "</s>" }, unk_token: "<unk>" },
      chat_template: [
        { name: "default", template: "{{ messages }}" },
        { name: "tool_use", template: "{{ tools }}" },
      ],
    }),
  );
  const { file } = await exportFolder(t, folder);
  const { metadata } = await readGguf(file);
  t.is(metadata.get("tokenizer.ggml.model"), "llama");
  t.is(metadata.get("tokenizer.ggml.add_bos_token"), true);
  t.is(metadata.get("tokenizer.ggml.add_eos_token"), false);
  t.is(metadata.get("tokenizer.ggml.add_space_prefix"), true);
  t.is(metadata.get("tokenizer.chat_template"), "{{ messages }}");
  t.is(metadata.get("tokenizer.chat_template.tool_use"), "{{ tools }}");
  t.deepEqual(
    ["bos", "eos", "unknown", "padding"].map((name) =>
      metadata.get(`tokenizer.ggml.${name}_token_id`),
    ),
    [1, 2, 0, undefined],
  );
  const types = metadata.get("tokenizer.ggml.token_type") as readonly number[];
  t.deepEqual([types[0], types[1], types[3], types[259], types[279]], [2, 3, 6, 1, 5]);
  const [given, read] = [await loadTokenizer(folder), await loadTokenizer(file)];
  for (const text of ["the hat", "then, in bed é", "  the  tent</s>the", "日"])
    t.deepEqual(read.encode(text), given.encode(text), text);
});

test("planModelGguf refuses a tokenizer whose rules llama.cpp knows by no name, and ids beyond the embedding", async (t) => {
  const message = async (json: JsonObject, vocabSize = 280): Promise<string> => {
    const folder = await makeFolder(t, { ...llama, vocab_size: vocabSize });
    await writeFile(join(folder, "tokenizer.json"), JSON.stringify(json));
    return (await t.throwsAsync(exportFolder(t, folder), { instanceOf: UserError })).message;
  };
  const json = sentencePiece();
  const model = json.model as JsonObject;
  t.regex(
    await message(json, 100),
    /found the token "<0x61>" with the id 100, expected ids below 100/,
  );
  t.regex(await message({ ...json, model: { ...model, type: "Unigram" } }), /type "Unigram"/);
  t.regex(
    await message({
      ...json,
      ...{ normalizer: null, pre_tokenizer: { type: "Whitespace" } },
      model: { ...model, byte_fallback: false },
    }),
    /found the pre-tokenizer \{"type":"Whitespace"\}, expected that of one of gpt-2, smollm/,
  );
});

test("planAdapterGguf writes scale * B A of every layer, whatever its rank and scale", async (t) => {
  const model = parseConfig({ ...llama, hidden_size: 16, intermediate_size: 8 }, "config.json");
  const stream = randomStream(1, "lora");
  const matrix = (shape: readonly [number, number]) => ({
    shape,
    data: Float32Array.from({ length: shape[0] * shape[1] }, () => stream.normal()),
  });
  const path = "model.layers.1.mlp.gate_proj";
  const table = undefined;
  const layers = [
    { weight: `${path}.weight`, table, rank: 2, scale: 4, A: matrix([2, 16]), B: matrix([8, 2]) },
    {
      weight: "model.layers.0.self_attn.q_proj.weight",
      ...{ table, rank: 4, scale: 0.5, A: matrix([4, 16]), B: matrix([16, 4]) },
    },
  ];
  const file = join(await makeTempFolder(t), "adapter.gguf");
  await writeGguf(
    file,
    planAdapterGguf({ path: "model", model, title: "a", outType: "f32" }, layers),
  );
  const { metadata, tensors } = await readGguf(file);
  t.is(metadata.get("general.type"), "adapter");
  t.is(metadata.get("adapter.type"), "lora");
  const alpha = metadata.get("adapter.lora.alpha") as number;
  t.is(alpha, 8);
  t.deepEqual(
    [...tensors].map(([name, { shape }]) => [name, ...shape]),
    [
      ["blk.1.ffn_gate.weight.lora_a", 2, 16],
      ["blk.1.ffn_gate.weight.lora_b", 8, 2],
      ["blk.0.attn_q.weight.lora_a", 4, 16],
      ["blk.0.attn_q.weight.lora_b", 16, 4],
    ],
  );
  const bytes = readFileSync(file);
  const valuesOf = (name: string): Float32Array => {
    const { byteOffset = 0, byteLength = 0 } = tensors.get(name) ?? {};
    return new Float32Array(
      new Uint8Array(bytes.subarray(byteOffset, byteOffset + byteLength)).buffer,
    );
  };
  t.deepEqual(valuesOf("blk.1.ffn_gate.weight.lora_b"), layers[0]?.B.data);
  // llama.cpp's scale is alpha over the rank; row 1 of the file is the second half's first.
  const query = layers[1];
  t.deepEqual(
    [...valuesOf("blk.0.attn_q.weight.lora_b").subarray(4, 8)].map((value) => (value * alpha) / 4),
    [...(query?.B.data.subarray(8, 12) ?? [])].map((value) => value * 0.5),
  );
});

test("requireFreeSpace refuses a file that its disk has no room for", async (t) => {
  const path = join(await makeTempFolder(t), "new", "file.gguf");
  await t.notThrowsAsync(requireFreeSpace(path, 1000, ""));
  const error = await t.throwsAsync(requireFreeSpace(path, 2 ** 60, "Free some"), {
    instanceOf: UserError,
  });
  t.regex(
    error.message,
    /file.gguf: found [\d,]+ MiB free on its disk, expected room for 1,099,511,627,776 MiB/,
  );
});
