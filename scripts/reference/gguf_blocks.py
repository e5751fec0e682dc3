#!/usr/bin/env python3
"""Decode random blocks of ggml's formats with the gguf package, as a fixture for ours.

usage: python scripts/reference/gguf_blocks.py test/fixtures/gguf/blocks.safetensors

Needs gguf (0.19 was used), numpy and safetensors. For every format: `<name>.bytes`, uint8 [rows, bytes], any bits but those
that would make a scale infinite or NaN, and `<name>.values`, what dequantize makes of them. For the types that are written:
`<name>.source`, float32 [rows, 64], and `<name>.encoded`, what quantize makes of them.
"""
import pathlib
import sys

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize, quantize
from safetensors.numpy import save_file

ROWS, BLOCKS = 3, 2
# The first bytes of float16 numbers within a block.
HALVES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
}


def main():
    out = pathlib.Path(sys.argv[1])
    rng = np.random.default_rng(20261127)
    tensors = {}
    for name, places in HALVES.items():
        kind = GGMLQuantizationType[name]
        _, size = GGML_QUANT_SIZES[kind]
        blocks = rng.integers(0, 256, size=(ROWS, BLOCKS, size), dtype=np.uint8)
        for at in places:
            blocks[..., at + 1] &= 0xBF  # below 2 in magnitude, subnormals among them
        # One block without a scale, and one whose scale is negative.
        for at in places:
            blocks[1, 0, at:at + 2] = 0
            blocks[2, 1, at + 1] |= 0x80
        rows = blocks.reshape(ROWS, BLOCKS * size)
        tensors[f"{name}.bytes"] = rows
        tensors[f"{name}.values"] = dequantize(rows, kind).astype(np.float32)
    for name in ["F16", "BF16", "Q8_0"]:
        source = rng.normal(0, 0.05, size=(8, 64)).astype(np.float32)
        source[1] = 0
        source[2] *= 1e-6  # below float16's normal numbers
        source[3] *= 1e5
        source[4, :] = np.arange(64) / 127  # codes halfway between two
        tensors[f"{name}.source"] = source
        encoded = np.ascontiguousarray(quantize(source, GGMLQuantizationType[name]))
        tensors[f"{name}.encoded"] = encoded.view(np.uint8).reshape(8, -1)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out)


if __name__ == "__main__":
    main()
