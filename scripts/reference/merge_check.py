"""Checks what `hira merge` has written with transformers and peft.

usage: python merge_check.py make BASE ADAPTER METHOD    a peft adapter (lora, dora or hira) with random values on a model
       python merge_check.py check BASE ADAPTER MERGED   loads MERGED with transformers, and compares

check prints, over 4 rows of 64 random token ids, the largest difference of the logits of MERGED to those of the adapter
beside its base, both computed in float32; the same of peft's own merge_and_unload, stored in the base's dtype; and how
many keys transformers has missed or not expected.
"""

import sys

import torch
from peft import HiraConfig, LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

TARGETS = ["q_proj", "k_proj", "v_proj", "up_proj", "down_proj"]
CONFIGS = {
    "lora": lambda: LoraConfig(r=16, lora_alpha=16, target_modules=TARGETS, task_type="CAUSAL_LM"),
    "dora": lambda: LoraConfig(r=16, lora_alpha=16, target_modules=TARGETS, use_dora=True, task_type="CAUSAL_LM"),
    "hira": lambda: HiraConfig(r=16, target_modules=TARGETS, task_type="CAUSAL_LM"),
}


def load(folder, dtype=torch.float32, **options):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, **options)


def make(base, adapter, method):
    torch.manual_seed(1)
    model = get_peft_model(load(base), CONFIGS[method]())
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and "magnitude" not in name:
            torch.nn.init.normal_(parameter, std=0.02 if method != "hira" else 0.1)
    model.save_pretrained(adapter)


def logits(model, ids):
    with torch.no_grad():
        return torch.stack([model(input_ids=row[None]).logits[0] for row in ids])


def check(base, adapter, merged):
    model, info = load(merged, output_loading_info=True)
    stored = load(merged, "auto").dtype
    ids = torch.randint(0, model.config.vocab_size, (4, 64), generator=torch.Generator().manual_seed(0))
    ours = logits(model, ids)
    unmerged = logits(PeftModel.from_pretrained(load(base), adapter), ids)
    plain = logits(load(base), ids)
    theirs = PeftModel.from_pretrained(load(base), adapter).merge_and_unload().to(stored).float()
    print(f"dtype {stored}, missing {sorted(info['missing_keys'])}, unexpected {sorted(info['unexpected_keys'])}")
    print(f"logits reach {unmerged.abs().max():.4g}; the adapter moves them by up to {(unmerged - plain).abs().max():.4g}")
    for name, other in [("hira merge", ours), ("peft's merge", logits(theirs, ids))]:
        same = (other.argmax(-1) == unmerged.argmax(-1)).sum()
        print(f"{name}: largest difference {(other - unmerged).abs().max():.4g}, same token at {same} of {ids.numel()}")
    a, b = model.state_dict(), theirs.state_dict()
    print(f"largest difference of a weight to peft's merge: {max((a[k] - b[k]).abs().max().item() for k in b):.4g}")


if __name__ == "__main__":
    mode, *arguments = sys.argv[1:]
    {"make": make, "check": check}[mode](*arguments)
