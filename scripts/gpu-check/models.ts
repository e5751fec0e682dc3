import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomically } from "../../src/core/atomic-file.js";
import { elementCount } from "../../src/core/dtype.js";
import { bfloat16FromFloat32 } from "../../src/core/half.js";
import { randomStream } from "../../src/core/random.js";
import { parseConfig } from "../../src/models/model-folder.js";
import { writeSafetensors } from "../../src/models/weights/safetensors.js";

const llama = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  hidden_act: "silu",
  max_position_embeddings: 8192,
  rms_norm_eps: 1e-5,
  attention_bias: false,
  attention_dropout: 0,
  mlp_bias: false,
  bos_token_id: 0,
  eos_token_id: 1,
  torch_dtype: "bfloat16",
} as const;

/** Shapes of models; their weights are made up. */
export const shapes = {
  /** SmolLM2-135M's. */
  "smollm2-135m": {
    ...llama,
    ...{ hidden_size: 576, intermediate_size: 1536, num_hidden_layers: 30 },
    ...{ num_attention_heads: 9, num_key_value_heads: 3, vocab_size: 49152 },
    ...{ rope_theta: 100000, tie_word_embeddings: true },
  },
  /** Llama-3-8B's. */
  "llama-3-8b": {
    ...llama,
    ...{ hidden_size: 4096, intermediate_size: 14336, num_hidden_layers: 32 },
    ...{ num_attention_heads: 32, num_key_value_heads: 8, vocab_size: 128256 },
    ...{ rope_theta: 500000, tie_word_embeddings: false },
  },
  /** For dry runs: the same proportions, two layers. */
  small: {
    ...llama,
    ...{ hidden_size: 128, intermediate_size: 352, num_hidden_layers: 2 },
    ...{ num_attention_heads: 4, num_key_value_heads: 2, vocab_size: 1024 },
    ...{ rope_theta: 10000, tie_word_embeddings: false },
  },
} as const;

/** The name of a shape. */
export type ShapeName = keyof typeof shapes;

/** Writes a shape's config.json alone. */
export const writeConfig = async (folder: string, shape: ShapeName): Promise<void> => {
  await mkdir(folder, { recursive: true });
  const text = `${JSON.stringify(shapes[shape], null, 2)}\n`;
  await writeFileAtomically(join(folder, "config.json"), text);
};

/** So many values differ before they repeat: a prime, so that rows of matrices are not alike. */
const distinct = 1_048_583;

/**
 * Writes a model folder of random weights in bfloat16: matrices normal(0, 0.02), norms one. Every tensor is a stretch of one pool
 * of numbers, so that 16 GB are written as fast as the disk takes them.
 */
export const writeShapedModel = async (folder: string, shape: ShapeName): Promise<void> => {
  await writeConfig(folder, shape);
  const { tensors } = parseConfig(shapes[shape], shape);
  const largest = Math.max(...[...tensors.values()].map(elementCount));
  const pool = new Uint16Array(largest + distinct);
  const stream = randomStream(1, `gpu-check:${shape}`);
  for (let i = 0; i < distinct; i++) pool[i] = bfloat16FromFloat32(0.02 * stream.normal());
  for (let filled = distinct; filled < pool.length; filled *= 2)
    pool.copyWithin(filled, 0, Math.min(filled, pool.length - filled));
  const ones = new Uint16Array(Math.max(...[...tensors.values()].map(([size = 0]) => size))).fill(
    bfloat16FromFloat32(1),
  );
  await writeSafetensors(
    join(folder, "model.safetensors"),
    [...tensors].map(([name, size], i) => {
      const count = elementCount(size);
      const from = (i * 7919) % distinct;
      const data = size.length === 1 ? ones.subarray(0, count) : pool.subarray(from, from + count);
      return { name, dtype: "bfloat16" as const, shape: size, data };
    }),
  );
};
