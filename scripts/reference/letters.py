"""The letters of multiple choice in plain PyTorch, for test/runs/letters.test.ts.

usage: python letters.py MODEL_DIR ROWS.jsonl > fixture.json

As the mmlu branch of train_hira.py: one forward a row, the logits of the bare tokens A, B, C and D at the last position, the largest wins. The prompt
is that of hendrycks/test for one question, behind BOS. Needs: torch, transformers.
"""
import json
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def prompt(row):
    lines = [f"{letter}. {choice}" for letter, choice in zip("ABCD", row["choices"])]
    about = row["subject"].replace("_", " ")
    head = f"The following are multiple choice questions (with answers) about {about}.\n\n{row['question']}\n"
    return head + "\n".join(lines) + "\nAnswer:"


def main():
    folder, path = sys.argv[1:]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    letters = tokenizer.convert_tokens_to_ids(list("ABCD"))
    result = []
    for line in open(path, encoding="utf-8"):
        ids = tokenizer(tokenizer.bos_token + prompt(json.loads(line)), add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, -1][letters]
        best = logits.topk(2).values
        assert best[0] - best[1] > 1e-3, "too close to call"
        result.append("ABCD"[logits.argmax().item()])
    json.dump(result, sys.stdout)
    print()


main()
