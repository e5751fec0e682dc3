#!/usr/bin/env python3
"""Writes test/fixtures/models/rope-tables.json: rotary tables as transformers computes them.

usage: python rope_tables.py OUT.json          (needs torch and transformers; made with torch 2.13.0, transformers 5.24.0)

Each case has the config.json fields, its positions, and cos and sin [positions, rotated elements / 2] in float32. dynamic and
longrope depend on the longest row: theirs is as long as the last position says.
"""
import json
import sys

import torch
from transformers import LlamaConfig, Phi3Config
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
from transformers.models.phi3.modeling_phi3 import Phi3RotaryEmbedding

POSITIONS = [0, 1, 7, 127, 2047, 8191]
LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
SMALL = {"hidden_size": 64, "num_attention_heads": 4}
PHI3 = {"model_type": "phi3", "hidden_size": 96, "num_attention_heads": 4, "max_position_embeddings": 16384,
        "original_max_position_embeddings": 4096}
SHORT, LONG = [1.0 + 0.07 * i for i in range(12)], [1.5 + 1.3 * i for i in range(12)]
YARN = {"factor": 4.0, "original_max_position_embeddings": 2048}
# the sizes that matter here, small ones and SmolLM2's and Llama 3's; both spellings of the fields
CASES = {
    "plain": {**SMALL, "rope_theta": 10000.0},
    "head_dim": {**SMALL, "head_dim": 32, "rope_theta": 10000.0},
    "SmolLM2": {"hidden_size": 576, "num_attention_heads": 9, "rope_theta": 100000.0},
    "linear": {"hidden_size": 64, "num_attention_heads": 1, "rope_theta": 10000.0,
               "rope_scaling": {"type": "linear", "factor": 4.0}},
    "Llama-3.1-8B": {"hidden_size": 4096, "num_attention_heads": 32, "rope_theta": 500000.0,
                     "rope_scaling": {"rope_type": "llama3", **LLAMA3}},
    "Llama-3.2-1B": {"hidden_size": 2048, "num_attention_heads": 32,
                     "rope_parameters": {"rope_type": "llama3", "rope_theta": 500000.0, **LLAMA3, "factor": 32.0}},
    "dynamic, short": {**SMALL, "max_position_embeddings": 8192, "rope_scaling": {"type": "dynamic", "factor": 3.0}},
    "dynamic, long": {**SMALL, "max_position_embeddings": 2048, "rope_scaling": {"rope_type": "dynamic", "factor": 3.0}},
    "yarn": {**SMALL, "rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6, **YARN}},
    "yarn, untruncated": {**SMALL, "head_dim": 32, "rope_theta": 1e4,
                          "rope_scaling": {"type": "yarn", **YARN, "truncate": False, "beta_fast": 16.0, "beta_slow": 2.0}},
    "yarn, mscale": {**SMALL, "rope_scaling": {"rope_type": "yarn", **YARN, "mscale": 0.7, "mscale_all_dim": 1.2}},
    "yarn, attention_factor": {**SMALL, "rope_scaling": {"rope_type": "yarn", **YARN, "attention_factor": 0.83}},
    "longrope": {**SMALL, "head_dim": 24, "max_position_embeddings": 16384,
                 "rope_scaling": {"rope_type": "longrope", "short_factor": SHORT, "long_factor": LONG, "factor": 3.0,
                                  "original_max_position_embeddings": 8192}},
    "longrope, long": {**PHI3, "rope_scaling": {"type": "longrope", "short_factor": SHORT, "long_factor": LONG}},
    "longrope, short": {**PHI3, "original_max_position_embeddings": 8192, "rope_theta": 5e4,
                        "rope_scaling": {"type": "yarn", "short_factor": SHORT, "long_factor": LONG}},
    "longrope, partial": {**PHI3, "hidden_size": 128, "partial_rotary_factor": 0.75,
                          "rope_scaling": {"type": "longrope", "short_factor": SHORT, "long_factor": LONG, "attention_factor": 1.1}},
    "partial": {**PHI3, "partial_rotary_factor": 0.5},
}


def table(fields):
    fields = json.loads(json.dumps({"max_position_embeddings": 131072, **fields}))
    if fields.pop("model_type", "llama") == "phi3":
        config, rotary = Phi3Config(**fields, pad_token_id=0), Phi3RotaryEmbedding
    else:
        config, rotary = LlamaConfig(**fields), LlamaRotaryEmbedding
    cos, sin = rotary(config)(torch.zeros(1), torch.tensor([POSITIONS]))
    half = cos.shape[-1] // 2
    return {"cos": cos[0, :, :half].flatten().tolist(), "sin": sin[0, :, :half].flatten().tolist()}


def main():
    with open(sys.argv[1], "w") as out:
        cases = {name: {"config": fields, **table(fields)} for name, fields in CASES.items()}
        # 9 digits give a float32 back exactly
        text = json.dumps({"positions": POSITIONS, "cases": cases})
        out.write(json.dumps(json.loads(text, parse_float=lambda s: float(f"{float(s):.9g}"))) + "\n")


if __name__ == "__main__":
    main()
