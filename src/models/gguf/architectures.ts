import type { JsonObject } from "../../core/json-file.js";
import type { GgufArchitecture, WrittenArchitecture } from "./architecture.js";
import { decoderArchitecture } from "./decoder-architecture.js";
import type { GgufFields } from "./gguf-fields.js";
import { gpt2 } from "./gpt2-architecture.js";
import { LONG_FACTORS } from "./rope-factors.js";

/** Mistral's files are Llama's, with a window where there is one. Source: LlamaModel of convert_hf_to_gguf.py. */
const llama = decoderArchitecture({
  name: "llama",
  modelTypes: ["llama", "mistral"],
  paired: true,
  windows: true,
  own: ({ hasBias, window }) => ({
    ...(window === undefined
      ? { architectures: ["LlamaForCausalLM"], model_type: "llama" }
      : {
          architectures: ["MistralForCausalLM"],
          model_type: "mistral",
          sliding_window: window,
        }),
    attention_bias: hasBias("attn_q"),
    mlp_bias: hasBias("ffn_gate"),
  }),
});

/** Source: Qwen2Model of convert_hf_to_gguf.py. */
const qwen2 = decoderArchitecture({
  name: "qwen2",
  modelTypes: ["qwen2"],
  paired: false,
  windows: false,
  own: () => ({ architectures: ["Qwen2ForCausalLM"], model_type: "qwen2" }),
});

/** Source: Qwen3Model of convert_hf_to_gguf.py. */
const qwen3 = decoderArchitecture({
  name: "qwen3",
  modelTypes: ["qwen3"],
  paired: false,
  windows: false,
  own: ({ hasBias }) => ({
    architectures: ["Qwen3ForCausalLM"],
    model_type: "qwen3",
    attention_bias: hasBias("attn_q"),
  }),
});

const gemmaNorms = (tensor: string): "plus one" | undefined =>
  tensor.endsWith("norm.weight") ? "plus one" : undefined;

/** partial_rotary_factor: a share of a head whose product with its size, cut, is `rotated`. */
const rotatedShare = (rotated: number, headDim: number): number => {
  const share = rotated / headDim;
  return Math.trunc(headDim * share) === rotated ? share : (rotated + 0.5) / headDim;
};

/** longrope without its factors; the factor of cosines and sines is named where it is not the rule's. */
const longrope = (fields: GgufFields): JsonObject => {
  const original = fields.size("phi3.rope.scaling.original_context_length", 4096);
  const factor = fields.positive("phi3.rope.scaling.attn_factor", 1);
  const stretch = fields.size("phi3.context_length") / original;
  const ofRule = stretch <= 1 ? 1 : Math.sqrt(1 + Math.log(stretch) / Math.log(original));
  return {
    original_max_position_embeddings: original,
    rope_scaling: {
      rope_type: "longrope",
      ...(Math.abs(factor - ofRule) > 1e-6 * ofRule && { attention_factor: factor }),
    },
  };
};

/** The factors of longrope are tensors, which are read later. Source: Phi3MiniModel of convert_hf_to_gguf.py. */
const phi3 = decoderArchitecture({
  name: "phi3",
  modelTypes: [],
  paired: false,
  windows: true,
  partial: true,
  parts: { attn_qkv: "self_attn.qkv_proj", ffn_up: "mlp.gate_up_proj" },
  own: ({ has, window, headDim, fields }) => ({
    architectures: ["Phi3ForCausalLM"],
    model_type: "phi3",
    sliding_window: window ?? null,
    partial_rotary_factor: rotatedShare(fields.size("phi3.rope.dimension_count", headDim), headDim),
    ...(has(LONG_FACTORS) && longrope(fields)),
    ...{ resid_pdrop: 0, embd_pdrop: 0 },
  }),
});

/** Its norms multiply by what stands in the file, transformers' by one more. Source: GemmaModel of convert_hf_to_gguf.py. */
const gemma: GgufArchitecture = {
  ...decoderArchitecture({
    name: "gemma",
    modelTypes: [],
    paired: false,
    windows: false,
    own: ({ headDim }) => ({
      architectures: ["GemmaForCausalLM"],
      model_type: "gemma",
      head_dim: headDim,
      hidden_act: "gelu_pytorch_tanh",
    }),
  }),
  stored: gemmaNorms,
};

/**
 * How scores are scaled is not in the file: the model of 46 layers by the size of a head that heads would have without
 * head_dim, the others by head_dim.
 *
 * Source: Gemma2Model of convert_hf_to_gguf.py; llama.cpp's reading of gemma2, where windows are 4096 and softcaps 50 and 30 unless
 * the file says otherwise.
 */
const gemma2: GgufArchitecture = {
  ...decoderArchitecture({
    name: "gemma2",
    modelTypes: [],
    paired: false,
    windows: true,
    parts: {
      post_attention_norm: "post_attention_layernorm",
      ffn_norm: "pre_feedforward_layernorm",
      post_ffw_norm: "post_feedforward_layernorm",
    },
    own: ({ window, headDim, fields }) => ({
      architectures: ["Gemma2ForCausalLM"],
      model_type: "gemma2",
      head_dim: headDim,
      hidden_act: "gelu_pytorch_tanh",
      hidden_activation: "gelu_pytorch_tanh",
      sliding_window: window ?? (fields.has("gemma2.attention.sliding_window") ? null : 4096),
      attn_logit_softcapping: fields.positive("gemma2.attn_logit_softcapping", 50),
      final_logit_softcapping: fields.positive("gemma2.final_logit_softcapping", 30),
      query_pre_attn_scalar:
        fields.size("gemma2.block_count") === 46
          ? fields.size("gemma2.embedding_length") / fields.size("gemma2.attention.head_count")
          : headDim,
    }),
  }),
  stored: gemmaNorms,
};

/** What is written too, by `general.architecture`. */
export const writtenArchitectures: ReadonlyMap<string, WrittenArchitecture> = new Map([
  ["llama", llama],
  ["qwen2", qwen2],
  ["qwen3", qwen3],
]);

/** What is read, by `general.architecture`. */
export const ggufArchitectures: ReadonlyMap<string, GgufArchitecture> = new Map<
  string,
  GgufArchitecture
>([...writtenArchitectures, ["phi3", phi3], ["gpt2", gpt2], ["gemma", gemma], ["gemma2", gemma2]]);
