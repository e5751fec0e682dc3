#!/usr/bin/env python3
"""Time HiRA training steps (forward, backward, clipping, AdamW) in PyTorch, and print one JSON line.

usage: step_peer.py OPTIONS_JSON, see WorkerOptions in scripts/bench/step-worker.ts, whose counterpart this is
       (needs torch, transformers). Eager float32, the authors' formula.
"""
import json
import resource
import sys
import time

import torch
import transformers

from hira_torch import add_hira, count_labels, load_model, sum_of_losses, to_tensors


def main():
    options = json.loads(sys.argv[1])
    torch.set_num_threads(options["threads"])
    transformers.utils.logging.disable_progress_bar()
    with open(options["batches"]) as file:
        steps = [[to_tensors(batch) for batch in json.loads(line)["batches"]] for line in file]
    model = load_model(options["model"], options["attention"])
    endings = tuple(name.strip() for name in options["targetModules"].split(","))
    linear = [path for path, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    named = add_hira(model, [path for path in linear if path.endswith(endings)], options["rank"])
    if options["checkpointing"]:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.train()                                     # transformers checkpoints only then; a Llama has no dropout
    parameters = list(named.values())
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)

    milliseconds, first_loss = [], None
    for i in range(options["warmup"] + len(steps)):
        batches = steps[i % len(steps) if i < options["warmup"] else i - options["warmup"]]
        start = time.perf_counter()
        labels = sum(count_labels(batch) for batch in batches)
        loss = 0.0
        for batch in batches:
            part = sum_of_losses(model, batch, options["logits"]) / labels
            part.backward()
            loss += part.item()
            del part
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if i >= options["warmup"]:
            milliseconds.append(1000 * (time.perf_counter() - start))
        first_loss = loss if first_loss is None else first_loss
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"milliseconds": milliseconds, "peakBytes": 1024 * usage.ru_maxrss,
                      "cpuMs": 1000 * (usage.ru_utime + usage.ru_stime), "firstLoss": first_loss,
                      "version": f"torch {torch.__version__}, transformers {transformers.__version__}"}))


if __name__ == "__main__":
    main()
