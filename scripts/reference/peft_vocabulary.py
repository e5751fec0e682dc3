#!/usr/bin/env python3
"""Adapters that peft made on a base whose vocabulary was resized: peft then saves the embedding and the head with them.

usage: python peft_vocabulary.py PEFT OUT     PEFT holds base/ and base-tied/, see peft_adapters.py

needs torch, transformers, peft; test/fixtures/peft-vocabulary was made with 2.13.0, 5.24.0 and 0.21.2, on one thread.
logits.json has what PeftModel.from_pretrained gives on the base, resized once more: all rows that count come from the adapter.
"""
import json
import pathlib
import shutil
import sys

import torch
from peft import HiraConfig, LoraConfig, PeftModel, PromptTuningConfig, get_peft_model
from transformers import LlamaForCausalLM

TASK = {"task_type": "CAUSAL_LM"}
LOW_RANK = {"r": 2, "target_modules": ["q_proj", "v_proj"], **TASK}
BOTH = ["embed_tokens", "lm_head"]
# name -> rows of the embedding, config, options of save_pretrained
CASES = {
    "grown": (19, LoraConfig(**LOW_RANK), {}),
    "grown-tied": (19, LoraConfig(**LOW_RANK), {}),
    "grown-saved": (19, LoraConfig(modules_to_save=BOTH, **LOW_RANK), {}),
    "grown-saved-alone": (19, LoraConfig(modules_to_save=BOTH, **LOW_RANK), {"save_embedding_layers": False}),
    "grown-saved-tied": (19, LoraConfig(modules_to_save=["embed_tokens"], **LOW_RANK), {}),
    "grown-tying-tied": (19, LoraConfig(modules_to_save=["embed_tokens"], ensure_weight_tying=True, **LOW_RANK), {}),
    "tying-tied": (16, LoraConfig(modules_to_save=["embed_tokens"], ensure_weight_tying=True, **LOW_RANK), {}),
    "targets": (16, LoraConfig(r=2, target_modules=["q_proj", *BOTH], **TASK), {}),
    "targets-tied": (16, LoraConfig(r=2, target_modules=["q_proj", "embed_tokens"], **TASK), {}),
    "grown-targets": (19, LoraConfig(r=2, use_dora=True, target_modules=["q_proj", *BOTH], **TASK), {}),
    "grown-targets-tied": (19, LoraConfig(r=2, target_modules=["q_proj", *BOTH], **TASK), {}),
    "grown-prompt": (19, PromptTuningConfig(num_virtual_tokens=3, **TASK), {}),
    "shrunk-hira-tied": (13, HiraConfig(**LOW_RANK), {}),
    "same-size": (16, LoraConfig(**LOW_RANK), {"save_embedding_layers": True}),
    # what no program can use: the new rows are nowhere
    "grown-saved-lost-tied": (19, LoraConfig(modules_to_save=["embed_tokens"], **LOW_RANK), {"save_embedding_layers": False}),
}
IDS = {13: [1, 5, 9, 12, 2, 7], 16: [1, 5, 9, 13, 2, 7], 19: [1, 16, 9, 18, 2, 17]}


def base_model(peft, name, rows):
    model = LlamaForCausalLM.from_pretrained(peft / ("base-tied" if name.endswith("-tied") else "base"))
    if rows != 16:
        model.resize_token_embeddings(rows)
    return model


def logits(model, ids):
    model.eval()
    with torch.no_grad():
        # virtual tokens come before the first position
        rows = model(input_ids=torch.tensor([ids])).logits[0, -len(ids):]
    return [float(f"{x:.9g}") for x in rows.flatten().tolist()]


def main():
    torch.set_num_threads(1)
    peft, out = (pathlib.Path(arg).resolve() for arg in sys.argv[1:3])
    shutil.rmtree(out, ignore_errors=True)
    results = {"input_ids": {str(rows): ids for rows, ids in IDS.items()}, "logits": {}}
    for name, (rows, config, options) in CASES.items():
        torch.manual_seed(11)
        base = base_model(peft, name, rows)
        for table in {base.get_input_embeddings().weight, base.get_output_embeddings().weight}:
            torch.nn.init.normal_(table, std=0.5)
        model = get_peft_model(base, config)
        for name_in_model, parameter in model.named_parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, mean=1 if "magnitude" in name_in_model else 0, std=0.5)
        folder = out / name
        model.save_pretrained(folder, **options)
        (folder / "README.md").unlink()
        path = folder / "adapter_config.json"
        for base_name in ("base-tied", "base"):
            path.write_text(path.read_text().replace(str(peft / base_name), "tiny-base"))
        if "-lost-" in name:
            continue
        loaded = PeftModel.from_pretrained(base_model(peft, name, rows), folder)
        results["logits"][name] = logits(loaded, IDS[rows])
        made = logits(model, IDS[rows])
        assert max(abs(a - b) for a, b in zip(made, results["logits"][name])) < 1e-4, name
    (out / "logits.json").write_text(json.dumps(results) + "\n")


if __name__ == "__main__":
    main()
