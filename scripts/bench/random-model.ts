/**
 * Writes a model folder of random bfloat16 weights, for measurements of models that are too large to come along.
 *
 * usage: random-model.ts DIR [--shape=llama-3-8b] [--layers=N]
 */
import { parseArgs } from "node:util";
import { mkdir } from "node:fs/promises";
import { elementCount } from "../../src/core/dtype.js";
import { narrowFloat32 } from "../../src/core/half.js";
import type { JsonObject } from "../../src/core/json-file.js";
import { randomStream } from "../../src/core/random.js";
import { parseConfig } from "../../src/models/model-folder.js";
import { writeModelFolder } from "../../src/models/write-model-folder.js";

/** config.json by shape. Source: the models' cards on the Hub. */
const shapes: Readonly<Record<string, JsonObject>> = {
  "llama-3-8b": {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    hidden_act: "silu",
    vocab_size: 128256,
    hidden_size: 4096,
    intermediate_size: 14336,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    max_position_embeddings: 8192,
    rms_norm_eps: 1e-5,
    rope_theta: 500000,
    tie_word_embeddings: false,
    bos_token_id: 128000,
    eos_token_id: 128001,
    torch_dtype: "bfloat16",
  },
  "smollm2-135m": {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    hidden_act: "silu",
    vocab_size: 49152,
    hidden_size: 576,
    intermediate_size: 1536,
    num_hidden_layers: 30,
    num_attention_heads: 9,
    num_key_value_heads: 3,
    max_position_embeddings: 8192,
    rms_norm_eps: 1e-5,
    rope_theta: 100000,
    tie_word_embeddings: true,
    bos_token_id: 1,
    eos_token_id: 2,
    torch_dtype: "bfloat16",
  },
};

/** Numbers that are drawn; tensors repeat them from a place of their own, since 8 billion draws would take an hour. */
const DRAWN = (1 << 20) + 7;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    shape: { type: "string", default: "llama-3-8b" },
    layers: { type: "string" },
  },
});
const [folder] = positionals;
const shape = shapes[values.shape];
if (folder === undefined || !shape)
  throw new Error(
    `usage: random-model.ts DIR [--shape=${Object.keys(shapes).join("|")}] [--layers=N]`,
  );
const rawConfig: JsonObject =
  values.layers === undefined ? shape : { ...shape, num_hidden_layers: Number(values.layers) };
const { tensors } = parseConfig(rawConfig, "the shape");

const stream = randomStream(1, "random-model");
const drawn = narrowFloat32(
  Float32Array.from({ length: DRAWN }, () => 0.02 * stream.normal()),
  "bfloat16",
);
/** bfloat16 of 1, the gain of every norm. */
const ONE = 0x3f80;

const contentOf = (name: string, count: number): Uint16Array => {
  const data = new Uint16Array(count);
  if (name.endsWith("norm.weight")) return data.fill(ONE);
  let at = randomStream(1, name).integer(DRAWN);
  for (let start = 0; start < count;) {
    const piece = drawn.subarray(at, at + count - start);
    data.set(piece, start);
    start += piece.length;
    at = 0;
  }
  return data;
};

await mkdir(folder, { recursive: true });
await writeModelFolder({
  path: folder,
  rawConfig,
  tensors: [...tensors].map(([name, size]) => ({
    name,
    dtype: "bfloat16",
    shape: size,
    data: () => Promise.resolve(contentOf(name, elementCount(size))),
  })),
});
