"""HiRA by the authors' formula, and peft's LoRA, on a transformers model: what train_peer.py and step_peer.py share."""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, BitsAndBytesConfig


class Hira(nn.Module):
    """y = x (W * (1 + B A))^T + bias; A [rank, in] starts kaiming uniform, B [out, rank] zero. W is frozen."""

    def __init__(self, base, rank):
        super().__init__()
        # transformers' Conv1D holds W^T.
        self.weight, self.bias = base.weight.T if type(base).__name__ == "Conv1D" else base.weight, base.bias
        out, inp = self.weight.shape
        self.A, self.B = nn.Parameter(torch.empty(rank, inp)), nn.Parameter(torch.zeros(out, rank))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def forward(self, x):
        return F.linear(x, self.weight * (self.B @ self.A + 1), self.bias)


def load_model(folder, attention, four_bit=None, dtype=torch.float32):
    """
    The folder's model in float32 or another dtype, whatever it is stored as, frozen.

    four_bit {"quant_type": "nf4" or "fp4", "double_quant": bool}: its blocks' linear layers are bitsandbytes' (needs accelerate).
    """
    quantized = {}
    if four_bit is not None:
        import exact_bitsandbytes  # noqa: F401

        quantized = {
            "device_map": "cpu",
            "quantization_config": BitsAndBytesConfig(
                load_in_4bit=True, bnb_4bit_quant_type=four_bit["quant_type"],
                bnb_4bit_use_double_quant=four_bit["double_quant"], bnb_4bit_compute_dtype=torch.float32),
        }
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation=attention, **quantized)
    model.config.use_cache = False
    return model.requires_grad_(False).eval()


def add_hira(model, targets, rank):
    """Puts HiRA onto the modules of these paths. -> {"<path>.A" and "<path>.B": parameter}, in the order of the paths"""
    named = {}
    for path in targets:
        parent, leaf = path.rsplit(".", 1)
        layer = Hira(model.get_submodule(path), rank)
        setattr(model.get_submodule(parent), leaf, layer)
        named[f"{path}.A"], named[f"{path}.B"] = layer.A, layer.B
    return named


def add_lora(model, targets, rank, alpha):
    """The same with peft's LoRA."""
    from peft import LoraConfig, inject_adapter_in_model

    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0, target_modules=list(targets)), model)
    named = {}
    for path in targets:
        layer = model.get_submodule(path)
        named[f"{path}.A"], named[f"{path}.B"] = layer.lora_A.default.weight, layer.lora_B.default.weight
    return named


def to_tensors(batch):
    """A stored batch (scripts/reference/batch-file.ts) as int64 tensors."""
    return {key: torch.tensor(batch[key]) for key in ("input_ids", "attention_mask", "labels")}


def count_labels(batch):
    """Labels that carry loss: nothing predicts column 0."""
    return int((batch["labels"][:, 1:] != -100).sum())


def sum_of_losses(model, batch, logits="all"):
    """
    The sum of -log p over the labels. logits "all": at every position, as transformers computes them; "labelled": the head
    runs on the positions alone that predict a label. Both have the same value.
    """
    labels = batch["labels"][:, 1:]
    hidden = model.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])[0][:, :-1]
    if logits == "labelled":
        kept = labels != -100
        hidden, labels = hidden[kept], labels[kept]
    scores = model.lm_head(hidden).float()
    return F.cross_entropy(scores.reshape(-1, scores.shape[-1]), labels.reshape(-1), ignore_index=-100, reduction="sum")
