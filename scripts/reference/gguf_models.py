#!/usr/bin/env python3
"""Write tiny models as GGUF files with the gguf package, as fixtures for the reader.

usage: python scripts/reference/gguf_models.py test/fixtures/models/families test/fixtures/gguf

Needs gguf (0.19 was used), numpy and safetensors. For each family below the model of its fixture in float32, under the names
that gguf's tensor map gives, changed as llama.cpp's convert_hf_to_gguf.py changes them: queries and keys in another order,
GPT-2's layers [out, in], Gemma's norms with one added. What it does not write is not in the file: GPT-2's scale by the layer,
Gemma 2's query_pre_attn_scalar.
"""
import json
import math
import pathlib
import sys

import gguf
import numpy
from safetensors.numpy import load_file

# model_type -> architecture, and whether rotary pairs stand side by side.
FAMILIES = {
    "mistral": (gguf.MODEL_ARCH.LLAMA, True),
    "qwen2": (gguf.MODEL_ARCH.QWEN2, False),
    "qwen3": (gguf.MODEL_ARCH.QWEN3, False),
    "phi3": (gguf.MODEL_ARCH.PHI3, False),
    "gpt2": (gguf.MODEL_ARCH.GPT2, False),
    "gemma": (gguf.MODEL_ARCH.GEMMA, False),
    "gemma2": (gguf.MODEL_ARCH.GEMMA2, False),
}


def permute(weights, heads):
    """Source: LlamaModel.permute of convert_hf_to_gguf.py."""
    shape = weights.shape
    return weights.reshape(heads, 2, shape[0] // heads // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


def add_phi3(writer, config, head_dim):
    """Source: Phi3MiniModel of convert_hf_to_gguf.py."""
    scaling, original = config["rope_scaling"], config["original_max_position_embeddings"]
    writer.add_rope_dimension_count(int(config["partial_rotary_factor"] * head_dim))
    writer.add_rope_scaling_orig_ctx_len(original)
    scale = config["max_position_embeddings"] / original
    writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(scale) / math.log(original)))
    for kind in ("long", "short"):
        writer.add_tensor(f"rope_factors_{kind}.weight", numpy.array(scaling[f"{kind}_factor"], "float32"))


def write_gpt2(writer, config):
    """Source: GPT2Model of convert_hf_to_gguf.py."""
    writer.add_block_count(config["n_layer"])
    writer.add_context_length(config["n_positions"])
    writer.add_embedding_length(config["n_embd"])
    writer.add_feed_forward_length(config["n_inner"])
    writer.add_head_count(config["n_head"])
    writer.add_layer_norm_eps(config.get("layer_norm_epsilon", 1e-5))


def write_decoder(writer, family, config):
    rope = config.get("rope_parameters") or {}
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    if family != "phi3":
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    if not family.startswith("gemma"):
        writer.add_rope_freq_base(rope.get("rope_theta", config.get("rope_theta", 10000.0)))
    if config.get("sliding_window") and family in ("mistral", "phi3", "gemma2"):
        writer.add_sliding_window(config["sliding_window"])
    if family == "gemma2":
        writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])
    if family == "phi3":
        add_phi3(writer, config, head_dim)


def write(family, source, out):
    arch, paired = FAMILIES[family]
    config = json.loads((source / "config.json").read_text())
    writer = gguf.GGUFWriter(out, gguf.MODEL_ARCH_NAMES[arch])
    writer.add_type(gguf.GGUFType.MODEL)
    if family == "gpt2":
        write_gpt2(writer, config)
    else:
        write_decoder(writer, family, config)
    writer.add_tokenizer_model("no_vocab")
    for key in ("bos", "eos", "pad"):
        if isinstance(config.get(f"{key}_token_id"), int):
            getattr(writer, f"add_{key}_token_id")(config[f"{key}_token_id"])
    names = gguf.get_tensor_name_map(arch, config.get("num_hidden_layers") or config["n_layer"])
    for name, values in load_file(source / "model.safetensors").items():
        known = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if known is None:
            raise SystemExit(f"{name}: gguf has no name for it")
        if paired and "self_attn.q_proj" in name:
            values = permute(values, config["num_attention_heads"])
        if paired and "self_attn.k_proj" in name:
            values = permute(values, config["num_key_value_heads"])
        if family == "gpt2" and name.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight")):
            values = values.T.copy()
        if family.startswith("gemma") and name.endswith("norm.weight"):
            values = values + 1
        writer.add_tensor(known, values.astype("float32"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    source, out = map(pathlib.Path, sys.argv[1:3])
    for family in FAMILIES:
        write(family, source / family / "model", out / f"{family}.gguf")


if __name__ == "__main__":
    main()
