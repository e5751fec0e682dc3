#!/usr/bin/env python3
"""Tiny random classifiers of texts, and what transformers and peft make of them: logits, losses, gradients, adapter folders.

usage: python classification.py OUT [FAMILY ...]      (torch, transformers, peft; one CPU thread, some 5 s a family)
       python classification.py --check FOLDER ...     loads folders that hira wrote; prints the logits of batch.safetensors beside them

OUT/<family>/model is a folder of the family's ForSequenceClassification; batch.safetensors holds rows padded on the right, their
classes, and the model's logits. <method>/ (hira, lora) is the adapter's folder at its start, by peft's save_pretrained; training.json has
15 losses of AdamW from there (fft: from the model), first_gradients.safetensors the gradients of the first step for block 0 and the head.
test/fixtures/classification was made with torch 2.13.0, transformers 5.24.0, peft 0.21.2.
"""
import json
import math
import pathlib
import sys

import torch
from peft import HiraConfig, LoraConfig, PeftModel, TaskType, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForSequenceClassification

VOCAB, PAD, LABELS = 64, 0, 3
STEPS, LR, DECAY, CLIP, RANK = 15, 1e-3, 0.01, 1.0, 4
LENGTHS = [11, 5, 8, 3]
COMMON = {"vocab_size": VOCAB, "pad_token_id": PAD, "num_labels": LABELS}
FAMILIES = {
    "llama": ({"model_type": "llama", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
               "num_key_value_heads": 2, "max_position_embeddings": 32, "tie_word_embeddings": True, "bos_token_id": 1,
               "eos_token_id": 2, **COMMON}, ["q_proj", "v_proj", "down_proj"]),
    "bert": ({"model_type": "bert", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
              "max_position_embeddings": 32, "type_vocab_size": 2, **COMMON}, ["query", "value"]),
    "distilbert": ({"model_type": "distilbert", "dim": 16, "hidden_dim": 24, "n_layers": 2, "n_heads": 4,
                    "max_position_embeddings": 32, **COMMON}, ["q_lin", "v_lin", "lin1"]),
}


def tiny(fields):
    config = AutoConfig.for_model(**fields)
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager").float().eval()
    g = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            if p.ndim == 1:
                center = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
                p.copy_(center + 0.2 * torch.randn(p.shape, generator=g))
            else:
                p.copy_((1.0 if "embed" in name else 1.2 / math.sqrt(p.shape[1])) * torch.randn(p.shape, generator=g))
    return model


def draw_batch(with_types):
    g = torch.Generator().manual_seed(9)
    ids = torch.full((len(LENGTHS), max(LENGTHS)), PAD)
    mask, types = torch.zeros_like(ids), torch.zeros_like(ids)
    for row, length in enumerate(LENGTHS):
        ids[row, :length] = torch.randint(4, VOCAB, (length,), generator=g)
        mask[row, :length] = 1
        types[row, length // 2:length] = 1
    batch = {"input_ids": ids, "attention_mask": mask}
    return {**batch, "token_type_ids": types} if with_types else batch


CLASSES = torch.tensor([2, 0, 1, 1])


def train(model):
    """15 losses, and the gradients of the first step, unclipped."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    decayed = [p for p in parameters if p.ndim > 1]
    plain = [p for p in parameters if p.ndim == 1]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": DECAY}, {"params": plain, "weight_decay": 0.0}], lr=LR)
    batch = draw_batch("Bert" in type(model.base_model).__name__ or model.config.model_type == "bert")
    losses, first = [], None
    for _ in range(STEPS):
        loss = model(**batch, labels=CLASSES).loss
        optimizer.zero_grad()
        loss.backward()
        if first is None:
            first = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        losses.append(loss.item())
    return losses, first


def adapted(folder, method, targets):
    model = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()
    common = {"r": RANK, "target_modules": targets, "task_type": TaskType.SEQ_CLS}
    config = HiraConfig(**common) if method == "hira" else LoraConfig(lora_alpha=6, **common)
    peft = get_peft_model(model, config).eval()
    g = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for name, p in sorted(peft.named_parameters()):
            if p.requires_grad and "modules_to_save" not in name:
                p.copy_(0.3 * torch.randn(p.shape, generator=g))
    return peft


def kept(name):
    """Block 0 and the head, by hira's names."""
    name = name.replace("base_model.model.", "").replace(".modules_to_save.default", "").replace(".default", "")
    for old, new in [(".lora_A.weight", ".A"), (".lora_B.weight", ".B"), (".hira_A", ".A"), (".hira_B", ".B")]:
        name = name.replace(old, new)
    return name if "layers.0." in name or "layer.0." in name or "classifier" in name or "score" in name else None


def main(out, names):
    torch.set_num_threads(1)
    for name in names or FAMILIES:
        fields, targets = FAMILIES[name]
        folder = pathlib.Path(out) / name
        model = tiny(fields)
        model.save_pretrained(folder / "model")
        batch = draw_batch(name == "bert")
        with torch.no_grad():
            logits = model(**batch).logits
        training, gradients = {}, {}
        for method in ["hira", "lora", "fft"]:
            if method == "fft":
                run = AutoModelForSequenceClassification.from_pretrained(folder / "model", attn_implementation="eager").eval()
            else:
                run = adapted(folder / "model", method, targets)
                run.save_pretrained(folder / method)
                (folder / method / "README.md").unlink(missing_ok=True)
                config = json.loads((folder / method / "adapter_config.json").read_text())
                config["base_model_name_or_path"] = "model"
                (folder / method / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
                with torch.no_grad():
                    batch[f"{method}_logits"] = run(**draw_batch(name == "bert")).logits
            losses, first = train(run)
            training[method] = losses
            gradients |= {f"{method}:{kept(n)}": g for n, g in first.items() if kept(n)}
        save_file({**batch, "labels": CLASSES, "logits": logits}, folder / "batch.safetensors")
        save_file(gradients, folder / "first_gradients.safetensors")
        (folder / "training.json").write_text(json.dumps(training, indent=2) + "\n")
        print(name, training)


def check(folders):
    """Loads what hira wrote, and compares its logits with those in batch.safetensors beside it (hira_logits)."""
    for folder in map(pathlib.Path, folders):
        batch = load_file(folder / "batch.safetensors")
        expected = batch.pop("logits")
        if (folder / "adapter_config.json").exists():
            base = json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"]
            model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=expected.shape[1])
            model.config.pad_token_id = PAD
            model = PeftModel.from_pretrained(model, folder)
        else:
            model = AutoModelForSequenceClassification.from_pretrained(folder)
            print(model.config.id2label)
        with torch.no_grad():
            logits = model.eval()(**batch).logits.float()
        print(folder, "largest difference", (logits - expected).abs().max().item())


if __name__ == "__main__":
    check(sys.argv[2:]) if sys.argv[1] == "--check" else main(sys.argv[1], sys.argv[2:])
