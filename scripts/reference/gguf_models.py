#!/usr/bin/env python3
"""Write tiny models as GGUF files with the gguf package, as fixtures for the reader.

usage: python scripts/reference/gguf_models.py test/fixtures/models/families test/fixtures/gguf

Needs gguf (0.19 was used), numpy and safetensors. For each family below the model of its fixture in float32, under the names
that gguf's tensor map gives, queries and keys in the order that llama.cpp's convert_hf_to_gguf.py gives them.
"""
import json
import pathlib
import sys

import gguf
from safetensors.numpy import load_file

# model_type -> architecture, and whether rotary pairs stand side by side.
FAMILIES = {
    "mistral": (gguf.MODEL_ARCH.LLAMA, True),
    "qwen2": (gguf.MODEL_ARCH.QWEN2, False),
    "qwen3": (gguf.MODEL_ARCH.QWEN3, False),
}


def permute(weights, heads):
    """Source: LlamaModel.permute of convert_hf_to_gguf.py."""
    shape = weights.shape
    return weights.reshape(heads, 2, shape[0] // heads // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


def write(family, source, out):
    arch, paired = FAMILIES[family]
    config = json.loads((source / "config.json").read_text())
    rope = config.get("rope_parameters") or {}
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    writer = gguf.GGUFWriter(out, gguf.MODEL_ARCH_NAMES[arch])
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(rope.get("rope_theta", config.get("rope_theta", 10000.0)))
    if config.get("sliding_window") and family == "mistral":
        writer.add_sliding_window(config["sliding_window"])
    writer.add_tokenizer_model("no_vocab")
    for key in ("bos", "eos", "pad"):
        if isinstance(config.get(f"{key}_token_id"), int):
            getattr(writer, f"add_{key}_token_id")(config[f"{key}_token_id"])
    names = gguf.get_tensor_name_map(arch, config["num_hidden_layers"])
    for name, values in load_file(source / "model.safetensors").items():
        known = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if known is None:
            raise SystemExit(f"{name}: gguf has no name for it")
        if paired and "self_attn.q_proj" in name:
            values = permute(values, heads)
        if paired and "self_attn.k_proj" in name:
            values = permute(values, kv_heads)
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
