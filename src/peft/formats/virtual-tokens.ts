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

import { prefix } from "../prefix.js";
import { pTuning, type PromptEncoderOptions } from "../p-tuning.js";
import { promptTuning } from "../prompt-tuning.js";
import type { virtualMethods } from "../registry.js";
import { rowWidth } from "../row-width.js";

/**
 * Methods of virtual tokens: one tensor, `prompt_embeddings` [virtual tokens, width], which is what the encoder gave.
 *
 * Source: peft 0.21.2, tuners/{prefix_tuning,p_tuning,prompt_tuning} and BasePromptEncoder.
 */
const promptFormat = (entry: {
  readonly method: (typeof virtualMethods)[PromptAdapter["method"]];
  readonly peftType: string;
  readonly title: string;
  /** token_dim and num_attention_heads as peft works them out. */
  readonly sizesOf: (base: AdapterBase) => readonly [tokenDim: number, heads: number];
  /** Fields that shaped training only. */
  readonly trainingFields: readonly string[];
  readonly ownConfig: (options: object) => JsonObject;
  /** The options that are read beside the number of tokens. */
  readonly parseOwn?: (fields: JsonFields) => object;
}): AdapterFormat<PromptAdapter> => ({
  title: entry.title,
  peftType: entry.peftType,
  reads: (config) => config.peft_type === entry.peftType,
  writes: (adapter): adapter is PromptAdapter => adapter.method === entry.method.name,
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
      method: entry.method.name,
      baseModel: baseModelOf(config),
      options: {
        virtualTokens: fields.number("num_virtual_tokens", size),
        ...entry.parseOwn?.(fields),
      },
    };
  },
  configOf(adapter, base) {
    const [tokenDim, heads] = entry.sizesOf(base);
    return {
      ...commonConfig(adapter, base),
      ...entry.ownConfig(adapter.options),
      num_attention_heads: heads,
      num_layers: base.layers,
      num_transformer_submodules: 1,
      num_virtual_tokens: adapter.options.virtualTokens,
      peft_type: entry.peftType,
      token_dim: tokenDim,
    };
  },
  tensors: ({ options: { virtualTokens } }, base) => [
    {
      name: entry.method.result,
      fileName: "prompt_embeddings",
      shape: [virtualTokens, rowWidth(entry.method.form, base)],
      ownAxes: [0],
    },
  ],
  aliases: { prompt_embeddings: entry.method.result },
});

/** Prefix tuning: row v of the table is [layer, key | value, key/value head, headDim], flattened. */
export const peftPrefix = promptFormat({
  method: prefix,
  peftType: "PREFIX_TUNING",
  title: "peft's prefix tuning",
  sizesOf: ({ kvHeads, headDim }) => [kvHeads * headDim, kvHeads],
  trainingFields: ["encoder_hidden_size", "init_weights", "prefix_projection"],
  ownConfig: () => ({ encoder_hidden_size: null, prefix_projection: false }),
});

/** p-tuning: what its encoder gave at the end. */
export const peftPTuning = promptFormat({
  method: pTuning,
  peftType: "P_TUNING",
  title: "peft's p-tuning",
  sizesOf: ({ hiddenSize, heads }) => [hiddenSize, heads],
  trainingFields: [
    "encoder_dropout",
    "encoder_hidden_size",
    "encoder_num_layers",
    "encoder_reparameterization_type",
  ],
  parseOwn: (fields) =>
    fields.value("encoder_reparameterization_type") === "LSTM"
      ? { encoderType: "LSTM", encoderLayers: fields.optional("encoder_num_layers", size, 2) }
      : {},
  ownConfig: ({ encoderType = "MLP", encoderLayers = 2 }: Partial<PromptEncoderOptions>) => ({
    encoder_dropout: 0,
    encoder_hidden_size: null,
    encoder_num_layers: encoderLayers,
    encoder_reparameterization_type: encoderType,
  }),
});

/** Prompt tuning as peft stores it: one table, [virtual tokens, hidden]. */
export const peftPromptTuning = promptFormat({
  method: promptTuning,
  peftType: "PROMPT_TUNING",
  title: "peft's prompt tuning",
  sizesOf: ({ hiddenSize, heads }) => [hiddenSize, heads],
  trainingFields: [
    "prompt_tuning_init",
    "prompt_tuning_init_text",
    "tokenizer_kwargs",
    "tokenizer_name_or_path",
  ],
  ownConfig: () => ({ prompt_tuning_init: "RANDOM", prompt_tuning_init_text: null }),
});
