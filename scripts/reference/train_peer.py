#!/usr/bin/env python3
"""Train HiRA, LoRA or QLoRA in PyTorch on the batches of a `hira train` run, to lay its curve beside ours.

usage: python train_peer.py BATCHES --init INIT.safetensors --out DIR [--model DIR] [--attention eager|sdpa]
           [--logits all|labelled] [--threads 2] [--max-steps N]
       (needs torch, transformers, safetensors; for lora peft, for qlora bitsandbytes and accelerate besides)

BATCHES is what scripts/reference/export-batches.ts wrote, INIT what export-init.ts wrote, both with the run's own flags.
Everything is float32. AdamW has 0.9, 0.999, 1e-8; the rate is linear with warm-up; the loss of an update is the mean over
its labelled tokens, and so is eval_loss over the validation rows. DIR/metrics.jsonl gets a line an update (step, loss,
grad_norm before clipping, lr, step_ms) and a line an evaluation (step, eval_loss, eval_ms); DIR/summary.json the peak of memory.
"""
import argparse
import json
import pathlib
import resource
import sys
import time

import torch
import transformers
from safetensors.torch import load_file

from hira_torch import add_hira, add_lora, count_labels, load_model, sum_of_losses, to_tensors


def read_lines(path):
    with open(path) as file:
        for line in file:
            yield json.loads(line)


def evaluate(model, path, logits):
    total = labels = 0
    with torch.no_grad():
        for line in read_lines(path):
            batch = to_tensors(line)
            total += sum_of_losses(model, batch, logits).item()
            labels += count_labels(batch)
    return total / labels


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("batches", type=pathlib.Path)
    parser.add_argument("--init", required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--model")
    parser.add_argument("--attention", default="sdpa", choices=["eager", "sdpa"])
    parser.add_argument("--logits", default="all", choices=["all", "labelled"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--max-steps", type=int)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    transformers.utils.logging.disable_progress_bar()

    run = json.loads((args.batches / "run.json").read_text())
    if run["peft_type"] not in ("hira", "lora"):
        sys.exit(f"error: Cannot train {run['peft_type']}: expected batches of a run with --peft_type=hira, lora or qlora")
    model = load_model(args.model or run["model"], args.attention, run["four_bit"])
    if run["peft_type"] == "hira":
        named = add_hira(model, run["targets"], run["rank"])
    else:
        named = add_lora(model, run["targets"], run["rank"], run["lora_alpha"])
    init = load_file(args.init)
    if init.keys() != named.keys():
        sys.exit(f"error: Cannot start from {args.init}: found {len(init)} tensors, expected the run's {len(named)}")
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(init[name])
    parameters = list(named.values())
    optimizer = torch.optim.AdamW(parameters, lr=run["lr"], betas=(0.9, 0.999), eps=1e-8,
                                  weight_decay=run["weight_decay"])
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, run["warmup"], run["total_steps"])
    limit = run["max_grad_norm"] or float("inf")
    validation = args.batches / "validation.jsonl"

    args.out.mkdir(parents=True, exist_ok=True)
    with open(args.out / "metrics.jsonl", "w", buffering=1) as metrics:
        for line in read_lines(args.batches / "train.jsonl"):
            if args.max_steps and line["step"] > args.max_steps:
                break
            start = time.perf_counter()
            batches = [to_tensors(batch) for batch in line["batches"]]
            labels = sum(count_labels(batch) for batch in batches)
            loss = 0.0
            for batch in batches:
                part = sum_of_losses(model, batch, args.logits) / labels
                part.backward()
                loss += part.item()
                del part
            grad_norm = torch.nn.utils.clip_grad_norm_(parameters, limit).item()
            lr = schedule.get_last_lr()[0]
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            step_ms = 1000 * (time.perf_counter() - start)
            row = {"step": line["step"], "loss": loss, "grad_norm": grad_norm, "lr": lr, "step_ms": step_ms}
            metrics.write(json.dumps(row) + "\n")
            print(row, flush=True)
            if line["step"] in run["evaluate_after"]:
                start = time.perf_counter()
                row = {"step": line["step"], "eval_loss": evaluate(model, validation, args.logits)}
                row["eval_ms"] = 1000 * (time.perf_counter() - start)
                metrics.write(json.dumps(row) + "\n")
                print(row, flush=True)
    summary = {"peak_rss_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, "threads": args.threads,
               "attention": args.attention, "logits": args.logits, "torch": torch.__version__,
               "transformers": transformers.__version__}
    (args.out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    print(summary)


if __name__ == "__main__":
    main()
