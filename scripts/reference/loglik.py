"""Likelihoods of the answers to commonsense rows in plain PyTorch, for test/runs/loglik.test.ts.

usage: python loglik.py MODEL_DIR DATA_ROOT [joint] > fixture.json

As lm-evaluation-harness computes them (model(whole), log_softmax, the sum over the answer's tokens, no eos), behind BOS and template 4; an answer's
tokens are those that it has by itself; with "joint", prompt and answer are encoded as the harness's _encode_pair does. Needs: torch, transformers.
"""
import json
import pathlib
import re
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

ROWS = 4
SETS = {"boolq": "boolq", "piqa": "piqa", "siqa": "social_i_qa", "hellas": "hellaswag", "winog": "winogrande", "arcc": "ARC-Challenge"}
TEMPLATE = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.  \n"
    "\n### Instruction:\n{}\n\n### Response:\n"
)


def answers(row, name, form):
    words = row["instruction"].rsplit("Answer format:", 1)[1].strip().split("/")
    if form == "words":
        right = next(word for word in words if word in row["output"])
        return [row["output"].strip().replace(right, word) for word in words]
    if name == "boolq":
        return words
    question = row["instruction"].rsplit("Answer format:", 1)[0]
    parts = re.split("|".join(f"{word.capitalize()}:" for word in words), question)
    return [part.strip() for part in parts[-len(words):]]


def encode_pair(encode, context, continuation):
    """lm_eval/api/model.py, TemplateLM._encode_pair."""
    spaces = len(context) - len(context.rstrip())
    if spaces > 0:
        continuation = context[-spaces:] + continuation
        context = context[:-spaces]
    whole = encode(context + continuation)
    alone = encode(context)
    return whole[: len(alone)], whole[len(alone) :]


def main():
    folder, root, *how = sys.argv[1:]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    encode = lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]
    result = []
    for name, place in SETS.items():
        rows = json.loads((pathlib.Path(root) / "llm_adapt" / place / "test.json").read_text())[:ROWS]
        for form in ("words", "texts"):
            for number, row in enumerate(rows):
                prompt = [tokenizer.bos_token_id, *encode(TEMPLATE.format(row["instruction"]))]
                found = {"set": name, "form": "-".join([form, *how]), "row": number, "loglik": [], "tokens": [], "bytes": []}
                for text in answers(row, name, form):
                    if how == ["joint"]:
                        prompt, answer = encode_pair(encode, tokenizer.bos_token + TEMPLATE.format(row["instruction"]), text)
                    else:
                        answer = encode(text)
                    with torch.no_grad():
                        log_p = model(torch.tensor([prompt + answer])).logits[0].float().log_softmax(-1)
                    picked = [log_p[len(prompt) - 1 + i, token].double().item() for i, token in enumerate(answer)]
                    found["loglik"].append(sum(picked))
                    found["tokens"].append(len(answer))
                    found["bytes"].append(len(text.encode()))
                    found.setdefault("characters", []).append(len(text))
                result.append(found)
    json.dump(result, sys.stdout)
    print()


main()
