import { join } from "node:path";
import { writeFileAtomically } from "../../src/core/atomic-file.js";
import { elementCount } from "../../src/core/dtype.js";
import { randomStream } from "../../src/core/random.js";
import { parseConfig } from "../../src/models/model-folder.js";
import { writeSafetensors } from "../../src/models/weights/safetensors.js";

/** The shape of the demo's model but for its vocabulary: under a million parameters, the embeddings among them. */
export const demoConfig = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  hidden_size: 128,
  intermediate_size: 320,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  hidden_act: "silu",
  max_position_embeddings: 512,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  attention_bias: false,
  attention_dropout: 0,
  mlp_bias: false,
  tie_word_embeddings: true,
  bos_token_id: 1,
  eos_token_id: 2,
  pad_token_id: 3,
  torch_dtype: "float32",
} as const;

/**
 * Standard deviation of the matrices' start values. Twice and a half transformers' 0.02, which is made for wider models: here
 * it is about half of 1 / sqrt(hidden).
 */
const INITIAL_STD = 0.05;

/**
 * Writes a Llama folder (config.json, model.safetensors) with random weights: matrices normal(0, 0.05), norms one.
 *
 * Each tensor has its own stream of random numbers, named after it, so its values depend on (seed, name, shape) alone.
 * @param sizes in place of the demo's
 */
export const writeRandomModel = async (
  folder: string,
  seed: number,
  vocabularySize: number,
  sizes: Partial<Record<keyof typeof demoConfig, number>> = {},
): Promise<void> => {
  const config = { ...demoConfig, ...sizes, vocab_size: vocabularySize };
  await writeFileAtomically(join(folder, "config.json"), `${JSON.stringify(config, null, 2)}\n`);
  const tensors = parseConfig(config, "the demo's config").tensors;
  await writeSafetensors(
    join(folder, "model.safetensors"),
    Array.from(tensors, ([name, shape]) => {
      const data = new Float32Array(elementCount(shape));
      if (shape.length === 1) data.fill(1);
      else {
        const random = randomStream(seed, `init:${name}`);
        for (let i = 0; i < data.length; i++) data[i] = INITIAL_STD * random.normal();
      }
      return { name, dtype: "float32" as const, shape, data };
    }),
  );
};
