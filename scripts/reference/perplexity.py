"""Perplexity of a text in plain PyTorch, for test/runs/run-perplexity.test.ts.

usage: python perplexity.py MODEL_DIR TEXT_FILE [TEXT_FILE ...] > fixture.json

The loop is that of Hugging Face's guide "Perplexity of fixed-length models", with two differences: every window adds the sum of -log p of the
tokens that no window before it has predicted (the guide takes a mean and multiplies), and the sums are float64. Model and tokenizer are
transformers' own. Needs: torch, transformers.
"""
import hashlib
import json
import math
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

# (max_length, stride, where BOS stands)
CASES = [
    (64, 32, "text"),
    (64, 32, "none"),
    (64, 64, "none"),
    (64, 63, "window"),
    (48, 7, "window"),
    (512, 256, "text"),
]


def measure(model, ids, bos, max_length, stride, rule):
    """Sum of -log p and the number of tokens that are predicted."""
    if rule == "text":
        ids = [bos, *ids]
    front = [bos] if rule == "window" else []
    room = max_length - len(front)
    total, count, predicted, begin = 0.0, 0, 0, 0
    while predicted < len(ids):
        end = min(begin + room, len(ids))
        window = torch.tensor([front + ids[begin:end]])
        with torch.no_grad():
            log_p = model(window).logits[0].float().log_softmax(-1)
        for at in range(predicted, end):
            column = len(front) + at - begin
            if column == 0:
                continue
            total -= log_p[column - 1, window[0, column]].double().item()
            count += 1
        predicted, begin = end, begin + stride
    return total, count


def main():
    folder, *files = sys.argv[1:]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    result = []
    for file in files:
        data = pathlib.Path(file).read_bytes()
        text = data.decode("utf-8")
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        for max_length, stride, rule in CASES:
            total, count = measure(model, ids, tokenizer.bos_token_id, max_length, stride, rule)
            result.append(
                {
                    "file": pathlib.Path(file).name,
                    "sha256": hashlib.sha256(data).hexdigest(),
                    "maxLength": max_length,
                    "stride": stride,
                    "bos": rule,
                    "tokens": count,
                    "negativeLogLikelihood": total,
                    "tokenPerplexity": math.exp(total / count),
                    "wordPerplexity": math.exp(total / len(text.split())),
                    "bitsPerByte": total / math.log(2) / len(data),
                }
            )
    json.dump(result, sys.stdout, indent=1)
    print()


main()
