#!/usr/bin/env python3
"""Writes test/fixtures/models/released.json: configs of released models, and what transformers makes of them, without weights.

usage: python released_shapes.py OUT.json        (torch and transformers; models on the meta device, some 20 s)

Each model has the fields of its config.json that say something of sizes, rotary positions, windows and tokens; how many tensors
and parameters its state_dict has (a tied head not counted); and the SHA-256 of lines "<name> <dim>x<dim>" in its order.
Phi-3-mini-128k's factors are made up: their number is the released one. Made with torch 2.13.0, transformers 5.24.0.
"""
import hashlib
import json
import sys

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

LLAMA3 = {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


def decoder(model_type, hidden, inner, layers, heads, kv_heads, vocab, **others):
    return {"model_type": model_type, "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers,
            "num_attention_heads": heads, "num_key_value_heads": kv_heads, "vocab_size": vocab, **others}


def llama(*sizes, **others):
    return decoder("llama", *sizes, rms_norm_eps=1e-5, **others)


def llama3(*sizes, **others):
    return llama(*sizes, 128256, rope_theta=500000.0, bos_token_id=128000, **others)


def opt(hidden, layers, heads, **others):
    return {"model_type": "opt", "hidden_size": hidden, "ffn_dim": 4 * hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
            "vocab_size": 50272, "max_position_embeddings": 2048, "dropout": 0.1, "word_embed_proj_dim": hidden, **others}


def gpt2(layers, hidden, heads):
    return {"model_type": "gpt2", "n_layer": layers, "n_embd": hidden, "n_head": heads}


def phi3(**others):
    return decoder("phi3", 3072, 8192, 32, 32, 32, 32064, rms_norm_eps=1e-5, original_max_position_embeddings=4096,
                   rope_theta=10000.0, bos_token_id=1, eos_token_id=32000, pad_token_id=32000, **others)


MODELS = {
    "Llama-2-7b": llama(4096, 11008, 32, 32, 32, 32000, max_position_embeddings=4096),
    "Llama-2-70b": llama(8192, 28672, 80, 64, 8, 32000, max_position_embeddings=4096),
    "Meta-Llama-3-8B": llama3(4096, 14336, 32, 32, 8, max_position_embeddings=8192, eos_token_id=128001),
    "Llama-3.1-8B-Instruct": llama3(4096, 14336, 32, 32, 8, max_position_embeddings=131072, eos_token_id=[128001, 128008, 128009],
                                    rope_scaling={**LLAMA3, "factor": 8.0}),
    "Llama-3.2-1B": llama3(2048, 8192, 16, 32, 8, max_position_embeddings=131072, eos_token_id=128001, head_dim=64,
                           tie_word_embeddings=True, rope_scaling={**LLAMA3, "factor": 32.0}),
    "Llama-3.2-3B": llama3(3072, 8192, 28, 24, 8, max_position_embeddings=131072, eos_token_id=128001, head_dim=128,
                           tie_word_embeddings=True, rope_scaling={**LLAMA3, "factor": 32.0}),
    "Mistral-7B-v0.1": decoder("mistral", 4096, 14336, 32, 32, 8, 32000, max_position_embeddings=32768, sliding_window=4096,
                               rope_theta=10000.0, rms_norm_eps=1e-5),
    "Mistral-7B-v0.3": decoder("mistral", 4096, 14336, 32, 32, 8, 32768, max_position_embeddings=32768, sliding_window=None,
                               rope_theta=1000000.0, rms_norm_eps=1e-5),
    "Qwen2-0.5B": decoder("qwen2", 896, 4864, 24, 14, 2, 151936, max_position_embeddings=131072, sliding_window=131072,
                          max_window_layers=24, use_sliding_window=False, tie_word_embeddings=True, rope_theta=1000000.0),
    "Qwen2.5-0.5B": decoder("qwen2", 896, 4864, 24, 14, 2, 151936, max_position_embeddings=32768, sliding_window=32768,
                            max_window_layers=24, use_sliding_window=False, tie_word_embeddings=True, rope_theta=1000000.0),
    "Qwen2.5-7B": decoder("qwen2", 3584, 18944, 28, 28, 4, 152064, max_position_embeddings=131072, sliding_window=131072,
                          max_window_layers=28, use_sliding_window=False, rope_theta=1000000.0),
    "Qwen3-0.6B": decoder("qwen3", 1024, 3072, 28, 16, 8, 151936, head_dim=128, max_position_embeddings=40960, sliding_window=None,
                          max_window_layers=28, use_sliding_window=False, tie_word_embeddings=True, rope_theta=1000000,
                          attention_bias=False),
    "Qwen3-8B": decoder("qwen3", 4096, 12288, 36, 32, 8, 151936, head_dim=128, max_position_embeddings=40960, sliding_window=None,
                        max_window_layers=36, use_sliding_window=False, tie_word_embeddings=False, rope_theta=1000000,
                        attention_bias=False),
    "opt-125m": opt(768, 12, 12),
    "opt-350m": opt(1024, 24, 16, word_embed_proj_dim=512, do_layer_norm_before=False),
    "opt-1.3b": opt(2048, 24, 32),
    "opt-6.7b": opt(4096, 32, 32),
    "distilgpt2": gpt2(6, 768, 12),
    "gpt2": gpt2(12, 768, 12),
    "gpt2-medium": gpt2(24, 1024, 16),
    "gpt2-large": gpt2(36, 1280, 20),
    "gpt2-xl": gpt2(48, 1600, 25),
    "gemma-2b": decoder("gemma", 2048, 16384, 18, 8, 1, 256000, head_dim=256, hidden_act="gelu", max_position_embeddings=8192),
    "gemma-7b": decoder("gemma", 3072, 24576, 28, 16, 16, 256000, head_dim=256, hidden_act="gelu_pytorch_tanh",
                        max_position_embeddings=8192),
    "gemma-2-2b": decoder("gemma2", 2304, 9216, 26, 8, 4, 256000, head_dim=256, query_pre_attn_scalar=256, sliding_window=4096),
    "gemma-2-9b": decoder("gemma2", 3584, 14336, 42, 16, 8, 256000, head_dim=256, query_pre_attn_scalar=256, sliding_window=4096),
    "Phi-3-mini-4k-instruct": phi3(max_position_embeddings=4096, sliding_window=2047, rope_scaling=None),
    "Phi-3-mini-128k-instruct": phi3(max_position_embeddings=131072, sliding_window=262144, rope_scaling={
        "type": "longrope", "short_factor": [1.0 + i / 16 for i in range(48)], "long_factor": [1.0 + i for i in range(48)]}),
}


def shapes(fields):
    config = AutoConfig.for_model(**json.loads(json.dumps(fields)))
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    tied = config.tie_word_embeddings
    tensors = {n: list(t.shape) for n, t in model.state_dict().items() if not (tied and n == "lm_head.weight")}
    lines = "\n".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in tensors.items())
    count = sum(torch.Size(shape).numel() for shape in tensors.values())
    return {"tensors": len(tensors), "parameters": count, "sha256": hashlib.sha256(lines.encode()).hexdigest()}


def main():
    transformers.utils.logging.set_verbosity_error()
    models = {name: {"config": fields, **shapes(fields)} for name, fields in MODELS.items()}
    with open(sys.argv[1], "w") as out:
        out.write(json.dumps(models, separators=(",", ":")).replace('},"', '},\n"') + "\n")
    for name, found in models.items():
        print(f"{name:28} {found['tensors']:5} {found['parameters']:15,}")


if __name__ == "__main__":
    main()
