import { normal } from "./init.js";
import { defineVirtual } from "./method.js";
import { linearLayer, linearParameters } from "./encoder-layers.js";
import { defineOptions } from "./option-group.js";
import { encoderOptions, virtualTokenOptions } from "./options/virtual-tokens.js";
import { rowWidth } from "./row-width.js";

const projectionOptions = defineOptions({
  phase: "start",
  flags: {
    prefix_projection: {
      ours: true,
      kind: "switch",
      group: "Model and method",
      help: "A small network makes the prefix in training",
    },
  },
  read: ({ prefix_projection: prefixProjection }) => ({ prefixProjection }),
});

/**
 * Prefix tuning: keys and values of virtual tokens in front of every layer's own, [virtual tokens, layers * 2 * kvHeads *
 * headDim], a row being [layer, key | value, head, headDim].
 *
 * The keys are not rotated; the text's positions begin behind them. They start from N(0, 1). With --prefix_projection they
 * are tanh(E W1^T + b1) W2^T + b2, and E, W1, b1, W2, b2 train: files then hold the result.
 * Source: Li and Liang, "Prefix-Tuning"; tuners/prefix_tuning of peft 0.21.2.
 */
export const prefix = defineVirtual({
  kind: "virtual",
  name: "prefix",
  groups: [virtualTokenOptions, projectionOptions, encoderOptions],
  onlyWith: { encoder_hidden_size: { flag: "prefix_projection", is: true } },
  form: "keys-values",
  result: "table",
  parameters(model, { virtualTokens, prefixProjection, encoderHiddenSize }) {
    const width = rowWidth("keys-values", model);
    if (!prefixProjection)
      return { table: { shape: [virtualTokens, width], init: normal(1), trainable: true } };
    const tokenDim = model.kvHeads * model.headDim;
    const hidden = encoderHiddenSize ?? tokenDim;
    return {
      "encoder.embedding": { shape: [virtualTokens, tokenDim], init: normal(1), trainable: true },
      ...linearParameters("encoder.0", tokenDim, hidden),
      ...linearParameters("encoder.2", hidden, width),
    };
  },
  rows(g, parameters) {
    const { table, "encoder.embedding": embedding } = parameters;
    if (table) return table;
    if (!embedding) throw new RangeError("Cannot build a prefix: found neither table nor encoder");
    const hidden = g.tanh(linearLayer(g, embedding, parameters, "encoder.0"));
    return linearLayer(g, hidden, parameters, "encoder.2");
  },
});
