#!/usr/bin/env python3
"""PyTorch's side of `npm run bench -- all`: a process that is made once and then asked for samples, one a line.

usage: peer_worker.py OPTIONS_JSON, see PeerOptions in scripts/bench/contenders.ts (needs torch, transformers, peft)

It prints {"ready": true, "firstLoss", "version"}; then every line {"lines": n} on its input gives one line
{"milliseconds": [...], "cpuMs", "peakBytes"}: of the first n lines of the batches, or of one generation of all prompts.
"""
import contextlib
import json
import resource
import sys
import time

import torch
import transformers

from hira_torch import add_hira, load_model, to_tensors


def usage():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return 1000 * (used.ru_utime + used.ru_stime), 1024 * used.ru_maxrss


def precision_context(precision):
    """fp32: none; autocast: float32 weights; bf16: the frozen weights in bfloat16, adapters in float32."""
    return contextlib.nullcontext() if precision == "fp32" else torch.autocast("cpu", torch.bfloat16)


def add_peft(model, kind, targets, rank):
    from peft import HiraConfig, LoraConfig, inject_adapter_in_model

    config = (HiraConfig(r=rank, target_modules=targets) if kind == "hira"
              else LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0, target_modules=targets))
    inject_adapter_in_model(config, model)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in parameters:
        parameter.data = parameter.data.float()
    return parameters


def open_step(options):
    with open(options["batches"]) as file:
        steps = [[to_tensors(batch) for batch in json.loads(line)["batches"]] for line in file]
    dtype = torch.bfloat16 if options["precision"] == "bf16" else torch.float32
    model = load_model(options["model"], options["attention"], dtype=dtype)
    endings = tuple(name.strip() for name in options["targetModules"].split(","))
    targets = [path for path, module in model.named_modules()
               if isinstance(module, torch.nn.Linear) and path.endswith(endings)]
    if options["formula"] == "original":
        parameters = list(add_hira(model, targets, options["rank"]).values())
    else:
        parameters = add_peft(model, options["formula"].removeprefix("peft-"), targets, options["rank"])
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)

    def loss_of(ids, mask, labels):
        hidden = model.model(input_ids=ids, attention_mask=mask)[0][:, :-1]
        scores = model.lm_head(hidden).float()
        return torch.nn.functional.cross_entropy(
            scores.reshape(-1, scores.shape[-1]), labels[:, 1:].reshape(-1), ignore_index=-100, reduction="sum")

    if options["compile"]:
        loss_of = torch.compile(loss_of)

    def run(lines):
        milliseconds, losses = [], []
        for batches in steps[:lines]:
            start = time.perf_counter()
            labels = sum(int((batch["labels"][:, 1:] != -100).sum()) for batch in batches)
            loss = 0.0
            for batch in batches:
                with precision_context(options["precision"]):
                    part = loss_of(batch["input_ids"], batch["attention_mask"], batch["labels"]) / labels
                part.backward()
                loss += part.item()
                del part
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            milliseconds.append(1000 * (time.perf_counter() - start))
            losses.append(loss)
        return milliseconds, losses

    return run, run(options["warmup"])[1][0]


def open_decoding(options):
    settings, prompts = options["settings"], options["prompts"]
    dtype = torch.float32 if options["precision"] == "fp32" else torch.bfloat16
    model = transformers.AutoModelForCausalLM.from_pretrained(options["model"], dtype=dtype).eval()
    model.generation_config.eos_token_id = None
    wide = max(len(prompt) for prompt in prompts)
    pad = settings["padId"]
    ids = torch.tensor([[pad] * (wide - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (wide - len(prompt)) + [1] * len(prompt) for prompt in prompts])

    def run(_lines, new=settings["maxNewTokens"]):
        start = time.perf_counter()
        with torch.no_grad():
            model.generate(input_ids=ids, attention_mask=mask, do_sample=False, num_beams=settings["numBeams"],
                           max_new_tokens=new, min_new_tokens=new, pad_token_id=pad, eos_token_id=None)
        return [1000 * (time.perf_counter() - start)], []

    run(1, new=2)
    return run, None


def main():
    options = json.loads(sys.argv[1])
    torch.set_num_threads(options["threads"])
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    run, first_loss = open_decoding(options) if options["kind"] == "decode" else open_step(options)
    print(json.dumps({"ready": True, "firstLoss": first_loss,
                      "version": f"torch {torch.__version__}, transformers {transformers.__version__}"}), flush=True)
    for line in sys.stdin:
        before = usage()[0]
        milliseconds, _ = run(json.loads(line)["lines"])
        after, peak = usage()
        print(json.dumps({"milliseconds": milliseconds, "cpuMs": after - before, "peakBytes": peak}), flush=True)


if __name__ == "__main__":
    main()
