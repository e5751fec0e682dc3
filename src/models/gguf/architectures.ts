import type { JsonObject } from "../../core/json-file.js";
import type { GgufFields } from "./gguf-fields.js";
import type { GgufTensor } from "./read-gguf.js";

/** What the reader has to know of one `general.architecture`. */
export interface GgufArchitecture {
  /** The fields of config.json that follow from the metadata; what is wrong is added to the fields' faults. */
  readonly config: (fields: GgufFields, tensors: ReadonlyMap<string, GgufTensor>) => JsonObject;
  /** The Hugging Face name of a tensor; undefined for one that the model does not have. */
  readonly nameOf: (tensor: string) => string | undefined;
  /** How many heads' rotary pairs stand interleaved in the rows of a tensor; undefined: rows are as they are here. */
  readonly pairedHeads: (tensor: string, config: JsonObject) => number | undefined;
}

const inBlock: Readonly<Record<string, string>> = {
  attn_norm: "input_layernorm",
  attn_q: "self_attn.q_proj",
  attn_k: "self_attn.k_proj",
  attn_v: "self_attn.v_proj",
  attn_output: "self_attn.o_proj",
  ffn_norm: "post_attention_layernorm",
  ffn_gate: "mlp.gate_proj",
  ffn_up: "mlp.up_proj",
  ffn_down: "mlp.down_proj",
};
const atTop: Readonly<Record<string, string>> = {
  "token_embd.weight": "model.embed_tokens.weight",
  "output_norm.weight": "model.norm.weight",
  "output.weight": "lm_head.weight",
};
const blockTensor = /^blk\.(\d+)\.(\w+)\.(weight|bias)$/;

/** Source: MODEL_TENSORS and TENSOR_NAMES of gguf 0.19; LlamaModel of convert_hf_to_gguf.py. */
const llama: GgufArchitecture = {
  config(fields, tensors) {
    const key = (name: string): string => `llama.${name}`;
    const hidden = fields.size(key("embedding_length"));
    const heads = fields.size(key("attention.head_count"));
    const headDim = fields.size(key("attention.key_length"), hidden / heads);
    const kvHeads = fields.size(key("attention.head_count_kv"), heads);
    const context = fields.size(key("context_length"));
    if (fields.has(key("expert_count")) && fields.metadata.get(key("expert_count")) !== 0)
      fields.fault(key("expert_count"), "none: mixtures of experts are not read");
    if (
      fields.has(key("attention.value_length")) &&
      fields.size(key("attention.value_length")) !== headDim
    )
      fields.fault(key("attention.value_length"), `${String(headDim)}, the size of a key`);
    if (
      fields.has(key("rope.dimension_count")) &&
      fields.size(key("rope.dimension_count")) !== headDim
    )
      fields.fault(
        key("rope.dimension_count"),
        `${String(headDim)}: only whole heads are rotated here`,
      );
    const window = fields.metadata.get(key("attention.sliding_window"));
    if (typeof window === "number" && window > 0 && window < context)
      fields.fault(key("attention.sliding_window"), "none: windows are not read from GGUF files");
    const scaling = fields.text(key("rope.scaling.type")) ?? "none";
    if (scaling !== "none" && scaling !== "linear")
      fields.fault(key("rope.scaling.type"), '"none" or "linear"');
    const biases = (part: string): boolean => tensors.has(`blk.0.${part}.bias`);
    return {
      architectures: ["LlamaForCausalLM"],
      model_type: "llama",
      hidden_act: "silu",
      hidden_size: hidden,
      intermediate_size: fields.size(key("feed_forward_length")),
      num_hidden_layers: fields.size(key("block_count")),
      num_attention_heads: heads,
      num_key_value_heads: kvHeads,
      ...(headDim * heads !== hidden && { head_dim: headDim }),
      max_position_embeddings: context,
      rms_norm_eps: fields.positive(key("attention.layer_norm_rms_epsilon"), 1e-6),
      rope_theta: fields.positive(key("rope.freq_base"), 10000),
      rope_scaling:
        scaling === "none"
          ? null
          : { rope_type: scaling, factor: fields.positive(key("rope.scaling.factor")) },
      attention_bias: biases("attn_q"),
      attention_dropout: 0,
      mlp_bias: biases("ffn_gate"),
    };
  },
  nameOf(tensor) {
    const [, layer, part = "", kind] = blockTensor.exec(tensor) ?? [];
    if (layer === undefined) return atTop[tensor];
    const name = Object.hasOwn(inBlock, part) ? inBlock[part] : undefined;
    return name === undefined
      ? undefined
      : `model.layers.${String(Number(layer))}.${name}.${kind ?? ""}`;
  },
  pairedHeads(tensor, config) {
    const part = blockTensor.exec(tensor)?.[2];
    if (part === "attn_q") return Number(config.num_attention_heads);
    return part === "attn_k" ? Number(config.num_key_value_heads) : undefined;
  },
};

/** What can be read, by `general.architecture`. */
export const ggufArchitectures: ReadonlyMap<string, GgufArchitecture> = new Map([["llama", llama]]);
