#!/usr/bin/env python3
"""Losses, gradients and final weights of peft's methods that the shared goldens lack: rsLoRA, prompt tuning, p-tuning (MLP and
LSTM), prefix tuning with a projection, LoRA with modules_to_save, LoRA and DoRA on embedding and head, DoRA with rsLoRA's scale.

usage: python peft_goldens.py GOLDENS OUT     GOLDENS holds tiny-llama/ and batch.safetensors, see its README.md

needs torch, transformers, peft; test/fixtures/train/peft-goldens was made with 2.13.0, 5.24.0 and 0.21.2, on one thread.
Step, schedule, clipping and AdamW are those of the shared goldens; biases and norm gains are not decayed, as transformers'
trainer has it. Saved modules start with the model's values.
"""
import json
import pathlib
import sys

import torch
import transformers
from peft import LoraConfig, PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

STEPS, WARMUP, LR, DECAY, CLIP = 20, 5, 1e-3, 0.01, 1.0
TASK = {"task_type": "CAUSAL_LM"}
VIRTUAL = {"num_virtual_tokens": 6, **TASK}
SAVED = ["embed_tokens", "lm_head", "model.norm"]
TABLES = ["q_proj", "embed_tokens", "lm_head"]
CONFIGS = {
    "rslora": LoraConfig(r=4, lora_alpha=6, use_rslora=True, target_modules=["q_proj", "down_proj"], **TASK),
    "prompt-tuning": PromptTuningConfig(**VIRTUAL),
    "p-tuning": PromptEncoderConfig(encoder_hidden_size=12, **VIRTUAL),
    "prefix-projection": PrefixTuningConfig(prefix_projection=True, encoder_hidden_size=10, **VIRTUAL),
    "p-tuning-lstm": PromptEncoderConfig(encoder_reparameterization_type="LSTM", encoder_hidden_size=7, **VIRTUAL),
    "lora-saved": LoraConfig(r=4, lora_alpha=6, target_modules=["q_proj"], modules_to_save=SAVED, **TASK),
    "lora-tables": LoraConfig(r=4, lora_alpha=6, target_modules=TABLES, **TASK),
    "dora-tables": LoraConfig(r=4, lora_alpha=6, use_dora=True, target_modules=TABLES, **TASK),
    "dora-rslora": LoraConfig(r=4, lora_alpha=6, use_dora=True, use_rslora=True, target_modules=["q_proj", "down_proj"], **TASK),
}


def our_name(method, name):
    """The name that hira gives a parameter of peft's."""
    if ".modules_to_save." in name:
        return name.removeprefix("base_model.model.").replace("modules_to_save.default.", "")
    if "lora" in method or "dora" in method:
        path, kind = name.removeprefix("base_model.model.").split(".lora_")
        return f"{path}.magnitude" if "magnitude" in kind else f"{path}.{kind.removeprefix('embedding_')[0]}"
    name = name.removeprefix("prompt_encoder.default.")
    if method == "prompt-tuning":
        return "embedding"
    if method == "p-tuning-lstm":
        name = name.replace("lstm_head.", "lstm.")
    name = name.replace("embedding.weight", "embedding").replace("mlp_head.", "").replace("transform.", "")
    return f"encoder.{name}"


def decays(name):
    return "bias" not in name and not name.endswith("norm.weight")


def build(goldens, method):
    model = get_peft_model(LlamaForCausalLM.from_pretrained(goldens / "tiny-llama"), CONFIGS[method]).eval()
    named = {our_name(method, n): p for n, p in model.named_parameters() if p.requires_grad}
    full = {our_name(method, n): n for n, p in model.named_parameters() if p.requires_grad}
    g = torch.Generator().manual_seed(13)
    with torch.no_grad():
        for name, p in sorted(named.items()):
            if ".modules_to_save." in full[name] or name.endswith(".magnitude"):
                continue
            wide = 0.1 if name.endswith(".B") else 1 if "embedding" in name else p.shape[-1] ** -0.5
            p.copy_(wide * torch.randn(p.shape, generator=g))
    return model, dict(sorted(named.items()))


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    goldens, out = (pathlib.Path(arg).resolve() for arg in sys.argv[1:3])
    out.mkdir(parents=True, exist_ok=True)
    tensors = load_file(goldens / "batch.safetensors")
    batch = {k: tensors[k] for k in ("input_ids", "attention_mask", "labels")}
    init, grads, final, methods, probe = {}, {}, {}, {}, {}
    for method in CONFIGS:
        model, named = build(goldens, method)
        copy = lambda: {f"{method}/{n}": p.detach().clone().contiguous() for n, p in named.items()}
        init.update(copy())
        groups = [
            {"params": [p for n, p in named.items() if decays(n)], "weight_decay": DECAY},
            {"params": [p for n, p in named.items() if not decays(n)], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=LR, foreach=False)
        schedule = transformers.get_linear_schedule_with_warmup(optimizer, WARMUP, STEPS)
        log = {"loss": [], "grad_norm": [], "lr": []}
        for step in range(STEPS):
            loss = model(**batch).loss
            loss.backward()
            if step == 0:
                probe[f"{method}/start"] = loss.item()
                grads.update({f"{method}/start/{n}": p.grad.clone().contiguous() for n, p in named.items()})
            log["grad_norm"].append(torch.nn.utils.clip_grad_norm_(list(named.values()), CLIP).item())
            log["loss"].append(loss.item())
            log["lr"].append(schedule.get_last_lr()[0])
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        with torch.no_grad():
            log["loss_after"] = model(**batch).loss.item()
        methods[method] = log
        final.update(copy())
    save_file(init, out / "init.safetensors")
    save_file(grads, out / "first_gradients.safetensors")
    save_file(final, out / "final_weights.safetensors")
    (out / "training.json").write_text(json.dumps({"probe_loss": probe, "methods": methods}, indent=1) + "\n")


if __name__ == "__main__":
    main()
