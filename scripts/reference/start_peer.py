#!/usr/bin/env python3
"""From the shell to the first step with torch and peft: what `npm run bench -- all` lays beside `hira`.

usage: start_peer.py MODEL ROWS.json fp32|autocast|bf16 [THREADS]   (needs torch, transformers, peft)

No more than a person would write: read the rows, encode them, load the model, put peft's HiRA on it, one batch of 4, forward, backward,
clipping, AdamW. It prints a line when the step is done.
"""
import json
import sys

import torch
from peft import HiraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer


def main():
    folder, rows_path, precision = sys.argv[1:4]
    if len(sys.argv) > 4:
        torch.set_num_threads(int(sys.argv[4]))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with open(rows_path) as file:
        rows = json.load(file)
    prompts = [f"### Instruction:\n{row['instruction']}\n\n### Response:\n" for row in rows]
    heads, tails = tokenizer(prompts)["input_ids"], tokenizer([row["output"] for row in rows])["input_ids"]
    chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(36))[:4].tolist()
    longest = max(len(heads[i]) + len(tails[i]) for i in chosen)
    ids, labels, mask = [], [], []
    for i in chosen:
        length = len(heads[i]) + len(tails[i])
        ids.append([0] * (longest - length) + heads[i] + tails[i])
        labels.append([-100] * (longest - len(tails[i])) + tails[i])
        mask.append([0] * (longest - length) + [1] * length)
    dtype = torch.float32 if precision in ("fp32", "autocast") else torch.bfloat16
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(folder, dtype=dtype), HiraConfig(
        r=32, target_modules=["q_proj", "k_proj", "v_proj", "up_proj", "down_proj"]))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision != "fp32"):
        loss = model(input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask), labels=torch.tensor(labels)).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    print(f"step 1/1 loss {loss.item():.4f}", flush=True)


if __name__ == "__main__":
    main()
