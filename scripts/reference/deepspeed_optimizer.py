#!/usr/bin/env python3
"""What torch's AdamW and Adam and DeepSpeed's schedulers compute, for the blocks `optimizer` and `scheduler` of a --ds_config.

usage: python deepspeed_optimizer.py OUT.json      (torch, deepspeed; seconds)

test/fixtures/train/deepspeed-optimizer.json was made with torch 2.13.0 and DeepSpeed 0.19.8. Without bias correction there is nothing in
torch: these numbers are the formula of Kingma and Ba, "Adam", with both corrections left out, in float64.
"""
import json
import pathlib
import sys

import numpy as np
import torch
from deepspeed.runtime import lr_schedules

STEPS, LR = 6, 1e-2
ADAMS = {
    "AdamW": {"betas": [0.8, 0.95], "eps": 1e-3, "weight_decay": 0.1, "adam_w_mode": True, "bias_correction": True},
    "AdamW of small betas": {"betas": [0.0, 0.5], "eps": 1e-8, "weight_decay": 0.0, "adam_w_mode": True, "bias_correction": True},
    "Adam with L2": {"betas": [0.9, 0.99], "eps": 1e-6, "weight_decay": 0.2, "adam_w_mode": False, "bias_correction": True},
    "AdamW without bias correction": {"betas": [0.9, 0.99], "eps": 1e-6, "weight_decay": 0.1, "adam_w_mode": True,
                                      "bias_correction": False},
}
PEAK = 1e-3
SCHEDULERS = [
    ("WarmupLR", {"warmup_type": "log", "warmup_min_lr": 0.0, "warmup_num_steps": 5}),
    ("WarmupLR", {"warmup_type": "linear", "warmup_min_lr": 1e-4, "warmup_num_steps": 4}),
    ("WarmupLR", {"warmup_type": "linear", "warmup_min_lr": 0.0, "warmup_num_steps": 1}),
    ("WarmupDecayLR", {"warmup_type": "linear", "warmup_min_lr": 0.0, "warmup_num_steps": 4, "total_num_steps": 12}),
    ("WarmupDecayLR", {"warmup_type": "log", "warmup_min_lr": 2e-4, "warmup_num_steps": 3, "total_num_steps": 8}),
    ("WarmupDecayLR", {"warmup_type": "log", "warmup_min_lr": 0.0, "warmup_num_steps": 9, "total_num_steps": 4}),
    ("WarmupCosineLR", {"warmup_type": "log", "warmup_min_ratio": 0.0, "warmup_num_steps": 4, "cos_min_ratio": 0.0001,
                        "total_num_steps": 12}),
    ("WarmupCosineLR", {"warmup_type": "linear", "warmup_min_ratio": 0.25, "warmup_num_steps": 3, "cos_min_ratio": 0.1,
                        "total_num_steps": 9}),
]


def draw():
    generator = torch.Generator().manual_seed(11)
    start = torch.randn(5, generator=generator)
    return start, [torch.randn(5, generator=generator) for _ in range(STEPS)]


def without_correction(start, gradients, params):
    """p = (1 - lr wd) p - lr m / (sqrt(v) + eps), the moments as they are."""
    p, (b1, b2) = start.double().numpy().copy(), params["betas"]
    m, v = np.zeros_like(p), np.zeros_like(p)
    values = []
    for gradient in gradients:
        g = gradient.double().numpy()
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        p = (1 - LR * params["weight_decay"]) * p - LR * m / (np.sqrt(v) + params["eps"])
        values.append(p.tolist())
    return values


def train(params):
    start, gradients = draw()
    if not params["bias_correction"]:
        return without_correction(start, gradients, params)
    p = torch.nn.Parameter(start.double())
    kind = torch.optim.AdamW if params["adam_w_mode"] else torch.optim.Adam
    optimizer = kind([p], lr=LR, betas=tuple(params["betas"]), eps=params["eps"], weight_decay=params["weight_decay"])
    values = []
    for gradient in gradients:
        p.grad = gradient.double()
        optimizer.step()
        values.append(p.detach().tolist())
    return values


def rates(kind, params):
    """The rates of the updates 1 to 16: an engine asks its scheduler after each update."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    peak = {} if kind == "WarmupCosineLR" else {"warmup_max_lr": PEAK}
    scheduler = getattr(lr_schedules, kind)(optimizer, **params, **peak)
    found = []
    for _ in range(16):
        found.append(float(optimizer.param_groups[0]["lr"]))
        scheduler.step()
    return found


start, gradients = draw()
out = {
    "lr": LR,
    "start": start.tolist(),
    "gradients": [gradient.tolist() for gradient in gradients],
    "adam": [{"name": name, "params": params, "values": train(params)} for name, params in ADAMS.items()],
    "peak": PEAK,
    "schedulers": [{"type": kind, "params": params, "rates": rates(kind, params)} for kind, params in SCHEDULERS],
}
pathlib.Path(sys.argv[1]).write_text(json.dumps(out, indent=1) + "\n")
