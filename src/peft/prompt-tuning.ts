import { normal, requireBase, type Initializer } from "./init.js";
import type { VirtualTokenMethod } from "./method.js";

/** The model's embeddings of the given ids, from the first again where the virtual tokens are more. */
const embeddingsOf =
  (ids: readonly number[]): Initializer =>
  ([count = 0, hidden = 0], _seed, _name, base) => {
    const table = requireBase(base, "model.embed_tokens.weight");
    const rows = new Float32Array(count * hidden);
    for (let row = 0; row < count; row++) {
      const id = ids[row % ids.length] ?? 0;
      rows.set(table.subarray(id * hidden, (id + 1) * hidden), row * hidden);
    }
    return rows;
  };

/**
 * Prompt tuning: embeddings of virtual tokens in front of the text's, [virtual tokens, hidden], and nothing else.
 *
 * They start from N(0, 1), or with --prompt_init_text from the model's embeddings of that text's tokens.
 * Source: Lester et al., "The Power of Scale for Parameter-Efficient Prompt Tuning"; tuners/prompt_tuning of peft 0.21.2.
 */
export const promptTuning: VirtualTokenMethod = {
  kind: "virtual",
  name: "prompt-tuning",
  reads: { virtualTokens: true, promptInitIds: true, masksPadding: true },
  form: "embeddings",
  result: "embedding",
  parameters: ({ hiddenSize }, { virtualTokens, promptInitIds }) => ({
    embedding: {
      shape: [virtualTokens, hiddenSize],
      init: promptInitIds.length > 0 ? embeddingsOf(promptInitIds) : normal(1),
      trainable: true,
    },
  }),
  rows(_g, { embedding }) {
    if (!embedding) throw new RangeError("Cannot build a prompt: found no embedding");
    return embedding;
  },
};
