#!/usr/bin/env python3
"""Writes test/fixtures/quantize/bitsandbytes.safetensors: weights as bitsandbytes quantizes them on the CPU.

usage: python bitsandbytes_quantize.py OUT.safetensors
       (needs torch, safetensors and bitsandbytes; made with torch 2.13.0, bitsandbytes 0.50.2)

dynamic_map              float32 [256]   the 8-bit type of double quantization
weight                   float32 [130, 128]: 260 blocks, so that double quantization has a full and a partial block
<type>.codes             uint8, two codes a byte, the first one high; <type> is nf4 or fp4
<type>.absmax            float32 [blocks]
<type>.nested.codes      uint8 [blocks], of the absmax values
<type>.nested.absmax     float32 [2]
<type>.nested.offset     float32 []
<type>.nested.values     float32 [130, 128], dequantized with double quantization
int8.codes, int8.absmax  int8 [130, 128], float32 [130]; int8.values: dequantized
tail.*                   the same for a weight [7, 50], whose last block is not full

The numbers are those of the package's PyTorch kernels, see exact_bitsandbytes.py.
"""
import sys

import exact_bitsandbytes  # noqa: F401
import bitsandbytes.functional as F
import torch
from safetensors.torch import save_file


def four_bit(weight, name):
    found = {}
    for kind in ("nf4", "fp4"):
        codes, plain = F.quantize_4bit(weight, quant_type=kind)
        nested_codes, nested = F.quantize_4bit(weight, quant_type=kind, compress_statistics=True)
        assert torch.equal(codes, nested_codes)
        found |= {
            f"{name}{kind}.codes": codes.flatten(),
            f"{name}{kind}.absmax": plain.absmax,
            f"{name}{kind}.nested.codes": nested.absmax,
            f"{name}{kind}.nested.absmax": nested.state2.absmax,
            f"{name}{kind}.nested.offset": nested.offset,
            f"{name}{kind}.nested.values": F.dequantize_4bit(nested_codes, nested),
        }
    return found


def main():
    torch.manual_seed(4)
    weight = 0.05 * torch.randn(130, 128)
    weight[3, 64:] = 0  # a block of zeros
    weight[5, 7] = 1.5  # an outlier
    tail = 0.05 * torch.randn(7, 50)
    codes, absmax, _ = F.int8_vectorwise_quant(weight)
    tensors = {
        "dynamic_map": F.create_dynamic_map(signed=True),
        "weight": weight,
        "tail.weight": tail,
        "int8.codes": codes,
        "int8.absmax": absmax,
        "int8.values": F.int8_vectorwise_dequant(codes, absmax),
        **four_bit(weight, ""),
        **four_bit(tail, "tail."),
    }
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, sys.argv[1])


if __name__ == "__main__":
    main()
