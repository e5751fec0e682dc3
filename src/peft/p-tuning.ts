import { linearLayer, linearParameters } from "./encoder-layers.js";
import { normal } from "./init.js";
import type { VirtualTokenMethod } from "./method.js";

const LAYERS = ["encoder.0", "encoder.2", "encoder.4"] as const;

/**
 * p-tuning: embeddings of virtual tokens in front of the text's, made by an encoder of three linear layers with ReLU between
 * them from an embedding of their own, [virtual tokens, hidden]. Files hold what the encoder makes.
 *
 * Source: Liu et al., "GPT Understands, Too"; the MLP of PromptEncoder of peft 0.21.2 (its LSTM is not here).
 */
export const pTuning: VirtualTokenMethod = {
  kind: "virtual",
  name: "p-tuning",
  form: "embeddings",
  result: "embedding",
  parameters({ hiddenSize }, { virtualTokens, encoderHiddenSize }) {
    const hidden = encoderHiddenSize ?? hiddenSize;
    const [first, second, third] = LAYERS;
    return {
      "encoder.embedding": {
        shape: [virtualTokens, hiddenSize],
        init: normal(1),
        trainable: true,
      },
      ...linearParameters(first, hiddenSize, hidden),
      ...linearParameters(second, hidden, hidden),
      ...linearParameters(third, hidden, hiddenSize),
    };
  },
  rows(g, parameters) {
    const { "encoder.embedding": embedding } = parameters;
    if (!embedding) throw new RangeError("Cannot build a prompt: found no encoder");
    const [first, second, third] = LAYERS;
    const inner = g.relu(linearLayer(g, embedding, parameters, first));
    return linearLayer(g, g.relu(linearLayer(g, inner, parameters, second)), parameters, third);
  },
};
