import { normal, requireBase, type Initializer } from "./init.js";
import type { VirtualTokenMethod } from "./method.js";
import { weightOf, type Model } from "../models/model.js";

/** The model's embeddings of the given ids as its blocks see them, from the first again where the virtual tokens are more. */
const embeddingsOf =
  (ids: readonly number[], { embedding }: Pick<Model, "embedding">): Initializer =>
  ([count = 0, hidden = 0], _seed, _name, base) => {
    const table = requireBase(base, weightOf(embedding));
    const { scale = 1 } = embedding;
    const rows = new Float32Array(count * hidden);
    for (let row = 0; row < count; row++) {
      const id = ids[row % ids.length] ?? 0;
      rows.set(table.subarray(id * hidden, (id + 1) * hidden), row * hidden);
    }
    return scale === 1 ? rows : rows.map((value) => scale * value);
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
  parameters: (model, { virtualTokens, promptInitIds }) => ({
    embedding: {
      shape: [virtualTokens, model.embedding.inFeatures],
      init: promptInitIds.length > 0 ? embeddingsOf(promptInitIds, model) : normal(1),
      trainable: true,
    },
  }),
  rows(_g, { embedding }) {
    if (!embedding) throw new RangeError("Cannot build a prompt: found no embedding");
    return embedding;
  },
};
