import type { GgufArchitecture } from "./architecture.js";

const inBlock: ReadonlyMap<string, string> = new Map([
  ["attn_norm", "ln_1"],
  ["attn_qkv", "attn.c_attn"],
  ["attn_output", "attn.c_proj"],
  ["ffn_norm", "ln_2"],
  ["ffn_up", "mlp.c_fc"],
  ["ffn_down", "mlp.c_proj"],
]);
const atTop: ReadonlyMap<string, string> = new Map([
  ["token_embd.weight", "transformer.wte.weight"],
  ["position_embd.weight", "transformer.wpe.weight"],
  ["output_norm.weight", "transformer.ln_f.weight"],
  ["output_norm.bias", "transformer.ln_f.bias"],
  ["output.weight", "lm_head.weight"],
]);
const blockTensor = /^blk\.(\d+)\.(\w+)\.(weight|bias)$/;
const turned: ReadonlySet<string> = new Set(["attn_qkv", "attn_output", "ffn_up", "ffn_down"]);

/**
 * GPT-2, whose layers stand [out, in] in the file and [in, out] in transformers' folders. Files are only read.
 *
 * Source: GPT2Model of convert_hf_to_gguf.py; build_gpt2 of llama.cpp, which has no scale by the layer.
 */
export const gpt2: GgufArchitecture = {
  config: (fields) => ({
    architectures: ["GPT2LMHeadModel"],
    model_type: "gpt2",
    n_embd: fields.size("gpt2.embedding_length"),
    n_head: fields.size("gpt2.attention.head_count"),
    n_layer: fields.size("gpt2.block_count"),
    n_positions: fields.size("gpt2.context_length"),
    n_inner: fields.size("gpt2.feed_forward_length"),
    layer_norm_epsilon: fields.positive("gpt2.attention.layer_norm_epsilon", 1e-5),
    activation_function: "gelu_new",
  }),
  nameOf(tensor) {
    const [, layer, part = "", kind] = blockTensor.exec(tensor) ?? [];
    if (layer === undefined) return atTop.get(tensor);
    const name = inBlock.get(part);
    return name === undefined
      ? undefined
      : `transformer.h.${String(Number(layer))}.${name}.${kind ?? ""}`;
  },
  pairedHeads: () => undefined,
  stored(tensor) {
    const [, , part = "", kind] = blockTensor.exec(tensor) ?? [];
    return kind === "weight" && turned.has(part) ? "turned" : undefined;
  },
};
