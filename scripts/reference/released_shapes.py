#!/usr/bin/env python3
"""The names and shapes of the tensors of released models, by transformers from their configs alone: no weight is made.

usage: python released_shapes.py > test/fixtures/models/released.json        (torch, transformers)

Of each: the config's fields that count, how many parameters (a tied head counted once), how many tensors, and the SHA-256 of their
sorted lines "<name> <size>x<size>". Made with torch 2.13.0, transformers 5.24.0.
"""
import hashlib
import json

import torch
from transformers import AutoConfig, AutoModelForCausalLM


def gpt2(layers, hidden, heads):
    return {"model_type": "gpt2", "n_layer": layers, "n_embd": hidden, "n_head": heads}


def opt(layers, hidden, heads, **others):
    return {"model_type": "opt", "num_hidden_layers": layers, "hidden_size": hidden, "num_attention_heads": heads,
            "ffn_dim": 4 * hidden, **others}


def decoder(model_type, layers, hidden, inner, heads, kv_heads, vocabulary, tied, **others):
    return {"model_type": model_type, "num_hidden_layers": layers, "hidden_size": hidden, "intermediate_size": inner,
            "num_attention_heads": heads, "num_key_value_heads": kv_heads, "vocab_size": vocabulary, "tie_word_embeddings": tied,
            **others}


RELEASED = {
    "distilgpt2": gpt2(6, 768, 12),
    "gpt2": gpt2(12, 768, 12),
    "gpt2-medium": gpt2(24, 1024, 16),
    "gpt2-large": gpt2(36, 1280, 20),
    "gpt2-xl": gpt2(48, 1600, 25),
    "opt-125m": opt(12, 768, 12),
    "opt-350m": opt(24, 1024, 16, word_embed_proj_dim=512, do_layer_norm_before=False),
    "opt-1.3b": opt(24, 2048, 32),
    "Meta-Llama-3-8B": decoder("llama", 32, 4096, 14336, 32, 8, 128256, False),
    "Mistral-7B-v0.1": decoder("mistral", 32, 4096, 14336, 32, 8, 32000, False, sliding_window=4096),
    "Qwen2-0.5B": decoder("qwen2", 24, 896, 4864, 14, 2, 151936, True),
    "Qwen2.5-7B": decoder("qwen2", 28, 3584, 18944, 28, 4, 152064, False),
    "Qwen3-0.6B": decoder("qwen3", 28, 1024, 3072, 16, 8, 151936, True, head_dim=128),
    "gemma-2b": decoder("gemma", 18, 2048, 16384, 8, 1, 256000, True, head_dim=256),
    "gemma-2-2b": decoder("gemma2", 26, 2304, 9216, 8, 4, 256000, True, head_dim=256, sliding_window=4096),
}


def shapes_of(fields):
    config = AutoConfig.for_model(**fields)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    tied = model.config.tie_word_embeddings
    return {name: tuple(t.shape) for name, t in model.state_dict().items() if not (tied and name == "lm_head.weight")}


def main():
    released = {}
    for name, fields in RELEASED.items():
        shapes = shapes_of(fields)
        lines = sorted(f"{tensor} {'x'.join(map(str, shape))}" for tensor, shape in shapes.items())
        released[name] = {
            "config": fields,
            "parameters": sum(torch.Size(shape).numel() for shape in shapes.values()),
            "tensors": len(lines),
            "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
        }
    print(json.dumps(released, indent=1))


if __name__ == "__main__":
    main()
