#!/usr/bin/env python3
"""Turns the pickle of an adapter folder, adapter_model.bin, into adapter_model.safetensors, which hira reads.

usage: python convert_adapter_bin.py FOLDER          (needs torch and safetensors)

Only tensors are unpickled (weights_only), so that a foreign file cannot run code. The pickle stays where it is.
"""
import pathlib
import sys

import torch
from safetensors.torch import save_file


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    source, target = folder / "adapter_model.bin", folder / "adapter_model.safetensors"
    if not source.is_file():
        sys.exit(f"error: Cannot convert {folder}: found no adapter_model.bin")
    tensors = torch.load(source, map_location="cpu", weights_only=True)
    # save_file refuses views and tensors that share memory
    save_file({name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}, target, {"format": "pt"})
    print(f"{target}: {len(tensors)} tensors")


if __name__ == "__main__":
    main()
