#!/usr/bin/env python3
"""Writes test/fixtures/models/rope-tables.json: rotary tables as transformers computes them.

usage: python rope_tables.py OUT.json          (needs torch and transformers; made with torch 2.13.0, transformers 5.23.0)

Each case has the config.json fields, some positions, and cos and sin [positions, head_dim / 2] in float32.
"""
import json
import sys

import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

POSITIONS = [0, 1, 7, 127, 2047, 8191]
LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
# the sizes that matter here, small ones and SmolLM2's and Llama 3's; both spellings of the fields
CASES = {
    "plain": {"hidden_size": 64, "num_attention_heads": 4, "rope_theta": 10000.0},
    "head_dim": {"hidden_size": 64, "num_attention_heads": 4, "head_dim": 32, "rope_theta": 10000.0},
    "SmolLM2": {"hidden_size": 576, "num_attention_heads": 9, "rope_theta": 100000.0},
    "linear": {"hidden_size": 64, "num_attention_heads": 1, "rope_theta": 10000.0,
               "rope_scaling": {"type": "linear", "factor": 4.0}},
    "Llama-3.1-8B": {"hidden_size": 4096, "num_attention_heads": 32, "rope_theta": 500000.0,
                     "rope_scaling": {"rope_type": "llama3", **LLAMA3}},
    "Llama-3.2-1B": {"hidden_size": 2048, "num_attention_heads": 32,
                     "rope_parameters": {"rope_type": "llama3", "rope_theta": 500000.0, **LLAMA3, "factor": 32.0}},
}


def table(fields):
    config = LlamaConfig(max_position_embeddings=131072, **json.loads(json.dumps(fields)))
    rotary = LlamaRotaryEmbedding(config)
    cos, sin = rotary(torch.zeros(1), torch.tensor([POSITIONS]))
    half = cos.shape[-1] // 2
    return {"config": fields, "cos": cos[0, :, :half].flatten().tolist(), "sin": sin[0, :, :half].flatten().tolist()}


def main():
    with open(sys.argv[1], "w") as out:
        cases = {name: table(fields) for name, fields in CASES.items()}
        # 9 digits give a float32 back exactly
        text = json.dumps({"positions": POSITIONS, "cases": cases})
        out.write(json.dumps(json.loads(text, parse_float=lambda s: float(f"{float(s):.9g}"))) + "\n")


if __name__ == "__main__":
    main()
