import { JsonFields, size } from "../../core/json-fields.js";
import type { JsonObject } from "../../core/json-file.js";
import {
  baseModelOf,
  checkOtherFields,
  checkTask,
  commonConfig,
  type AdapterBase,
  type AdapterFormat,
  type PromptAdapter,
} from "./format.js";

/**
 * Methods of virtual tokens: one tensor, `prompt_embeddings` [virtual tokens, width], which is what the encoder gave.
 *
 * Source: peft 0.21.2, tuners/{prefix_tuning,p_tuning,prompt_tuning} and BasePromptEncoder.
 */
const promptFormat = (entry: {
  readonly method: PromptAdapter["method"];
  readonly peftType: string;
  readonly title: string;
  readonly parameter: string;
  readonly widthOf: (base: AdapterBase) => number;
  /** token_dim and num_attention_heads as peft works them out. */
  readonly sizesOf: (base: AdapterBase) => readonly [tokenDim: number, heads: number];
  /** Fields that shaped training only. */
  readonly trainingFields: readonly string[];
  readonly ownConfig: (adapter: PromptAdapter) => JsonObject;
  /** What else than the number of tokens is read. */
  readonly parseOwn?: (fields: JsonFields) => Partial<PromptAdapter>;
}): AdapterFormat<PromptAdapter> => ({
  title: entry.title,
  reads: (config) => config.peft_type === entry.peftType,
  writes: (adapter): adapter is PromptAdapter => adapter.method === entry.method,
  parse(config, base, faults) {
    const fields = new JsonFields(config, "", faults);
    const [tokenDim, heads] = entry.sizesOf(base);
    const expected = {
      token_dim: tokenDim,
      num_attention_heads: heads,
      num_layers: base.layers,
      num_transformer_submodules: 1,
    };
    for (const [name, value] of Object.entries(expected))
      if ((fields.value(name) ?? value) !== value)
        fields.fault(name, `${String(value)} for this model`);
    checkTask(fields, base);
    checkOtherFields(
      config,
      ["num_virtual_tokens", "task_type", ...Object.keys(expected), ...entry.trainingFields],
      fields,
    );
    return {
      method: entry.method,
      baseModel: baseModelOf(config),
      virtualTokens: fields.number("num_virtual_tokens", size),
      ...entry.parseOwn?.(fields),
    };
  },
  configOf(adapter, base) {
    const [tokenDim, heads] = entry.sizesOf(base);
    return {
      ...commonConfig(adapter, base),
      ...entry.ownConfig(adapter),
      num_attention_heads: heads,
      num_layers: base.layers,
      num_transformer_submodules: 1,
      num_virtual_tokens: adapter.virtualTokens,
      peft_type: entry.peftType,
      token_dim: tokenDim,
    };
  },
  tensors: ({ virtualTokens }, base) => [
    {
      name: entry.parameter,
      fileName: "prompt_embeddings",
      shape: [virtualTokens, entry.widthOf(base)],
      ownAxes: [0],
    },
  ],
  aliases: { prompt_embeddings: entry.parameter },
});

/** Prefix tuning: row v of the table is [layer, key | value, key/value head, headDim], flattened. */
export const peftPrefix = promptFormat({
  method: "prefix",
  peftType: "PREFIX_TUNING",
  title: "peft's prefix tuning",
  parameter: "table",
  widthOf: ({ layers, kvHeads, headDim }) => layers * 2 * kvHeads * headDim,
  sizesOf: ({ kvHeads, headDim }) => [kvHeads * headDim, kvHeads],
  trainingFields: ["encoder_hidden_size", "init_weights", "prefix_projection"],
  ownConfig: () => ({ encoder_hidden_size: null, prefix_projection: false }),
});

/** p-tuning: what its encoder gave at the end. */
export const peftPTuning = promptFormat({
  method: "p-tuning",
  peftType: "P_TUNING",
  title: "peft's p-tuning",
  parameter: "embedding",
  widthOf: ({ hiddenSize }) => hiddenSize,
  sizesOf: ({ hiddenSize, heads }) => [hiddenSize, heads],
  trainingFields: [
    "encoder_dropout",
    "encoder_hidden_size",
    "encoder_num_layers",
    "encoder_reparameterization_type",
  ],
  parseOwn: (fields) =>
    fields.value("encoder_reparameterization_type") === "LSTM"
      ? { encoder: "LSTM", encoderLayers: fields.optional("encoder_num_layers", size, 2) }
      : {},
  ownConfig: ({ encoder = "MLP", encoderLayers = 2 }) => ({
    encoder_dropout: 0,
    encoder_hidden_size: null,
    encoder_num_layers: encoderLayers,
    encoder_reparameterization_type: encoder,
  }),
});

export const peftPromptTuning = promptFormat({
  method: "prompt-tuning",
  peftType: "PROMPT_TUNING",
  title: "peft's prompt tuning",
  parameter: "embedding",
  widthOf: ({ hiddenSize }) => hiddenSize,
  sizesOf: ({ hiddenSize, heads }) => [hiddenSize, heads],
  trainingFields: [
    "prompt_tuning_init",
    "prompt_tuning_init_text",
    "tokenizer_kwargs",
    "tokenizer_name_or_path",
  ],
  ownConfig: () => ({ prompt_tuning_init: "RANDOM", prompt_tuning_init_text: null }),
});
