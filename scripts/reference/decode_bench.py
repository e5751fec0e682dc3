#!/usr/bin/env python3
"""Decode the prompts of the result of `npm run bench -- decode` with transformers' generate, and compare times and texts.

usage: python decode_bench.py RESULT.json [--dtype float32|bfloat16] [--repeat 1] [--threads N]   (torch, transformers)

Prompts are sorted by length, longest first, and cut into batches of the same size as ours; a first short run warms up.
"""
import argparse
import json
import resource
import time

import torch
from transformers import AutoModelForCausalLM


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("result")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    with open(args.result) as f:
        ours = json.load(f)
    settings, prompts = ours["settings"], ours["prompts"]
    model = AutoModelForCausalLM.from_pretrained(ours["model"], dtype=getattr(torch, args.dtype)).eval()
    pad = settings["padId"]
    options = {
        "do_sample": False, "num_beams": settings["numBeams"], "num_return_sequences": settings["numReturnSequences"],
        "max_new_tokens": settings["maxNewTokens"], "length_penalty": settings["lengthPenalty"],
        "no_repeat_ngram_size": settings["noRepeatNgramSize"], "early_stopping": settings["earlyStopping"],
        "pad_token_id": pad, "eos_token_id": settings["eosIds"] or None,
    }
    if not settings["eosIds"]:
        model.generation_config.eos_token_id = None
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    batches = [order[i:i + ours["batch"]] for i in range(0, len(order), ours["batch"])]

    def run(rows, **overrides):
        wide = max(len(prompts[i]) for i in rows)
        ids = torch.tensor([[pad] * (wide - len(prompts[i])) + prompts[i] for i in rows])
        mask = torch.tensor([[0] * (wide - len(prompts[i])) + [1] * len(prompts[i]) for i in rows])
        with torch.no_grad():
            return model.generate(input_ids=ids, attention_mask=mask, **{**options, **overrides})[:, wide:].tolist()

    run(batches[0][:2], max_new_tokens=2)
    for _ in range(args.repeat):
        start, texts = time.perf_counter(), {}
        for rows in batches:
            kept = run(rows)
            for i, row in enumerate(rows):
                texts[row] = kept[i * settings["numReturnSequences"]]
        seconds = time.perf_counter() - start
        equal = new = 0
        for row, text in texts.items():
            expected = ours["sequences"][row][0]["tokens"]
            equal += text[:len(expected)] == expected
            new += len(expected)
        best = min(r["totalMs"] for r in ours["runs"]) / 1000
        print(json.dumps({"dtype": args.dtype, "seconds": round(seconds, 3), "tokens_per_second": round(new / seconds, 1),
                          "our_seconds": round(best, 3), "ratio": round(seconds / best, 2),
                          "equal_rows": f"{equal} of {len(texts)}",
                          "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}))


if __name__ == "__main__":
    main()
