"""HiRA in PyTorch, by the authors' formula, on a transformers model: what train_hira.py and step_peer.py share."""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from transformers import AutoModelForCausalLM


class Hira(nn.Module):
    """y = x (W * (1 + B A))^T + bias; A [rank, in] starts kaiming uniform, B [out, rank] zero. W is frozen."""

    def __init__(self, base, rank):
        super().__init__()
        out, inp = base.weight.shape
        self.weight, self.bias = base.weight, base.bias
        self.A, self.B = nn.Parameter(torch.empty(rank, inp)), nn.Parameter(torch.zeros(out, rank))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def forward(self, x):
        return F.linear(x, self.weight * (self.B @ self.A + 1), self.bias)


def load_model(folder, attention):
    """The folder's model in float32, whatever it is stored as, frozen."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation=attention)
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
