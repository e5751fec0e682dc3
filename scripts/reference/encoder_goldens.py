#!/usr/bin/env python3
"""A tiny random classifier of every family of encoders, and what transformers and peft make of it: states, logits, losses, gradients.

usage: python encoder_goldens.py OUT [FAMILY ...]        (torch, transformers, peft; one CPU thread, some 5 s a family)

OUT/<family>/model is the folder of the classifier (3 labels); batch.safetensors holds rows padded on their right with their token types,
a class a row, the logits, and, without token types, the hidden states after each layer ("hidden.0" are the embeddings). init.safetensors,
first_gradients.safetensors and training.json are as model_goldens.py makes them: HiRA, LoRA and DoRA on the targets with the
classifier in full beside them, and full fine-tuning; 15 steps each, the loss being the rows' mean. Nothing is dropped.
test/fixtures/models/encoders was made with torch 2.13.0, transformers 5.24.0, peft 0.21.2.
"""
import json
import math
import pathlib
import sys

import torch
import transformers
from model_goldens import DECAY, RANK, add_adapter, run_steps
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForSequenceClassification

VOCAB, LABELS = 64, 3
LENGTHS, FIRSTS, CLASSES = [24, 17, 9, 20], [15, 17, 4, 11], [2, 0, 1, 2]
BASE = {"vocab_size": VOCAB, "max_position_embeddings": 48, "pad_token_id": 0,
        "id2label": {"0": "no", "1": "maybe", "2": "yes"}, "label2id": {"no": 0, "maybe": 1, "yes": 2}}
# config.json's fields, ends of the targets' paths, and the modules that train in full
FAMILIES = {
    "bert": ({**BASE, "model_type": "bert", "architectures": ["BertForSequenceClassification"], "hidden_size": 24,
              "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4, "type_vocab_size": 2},
             ["query", "value", "intermediate.dense", "pooler.dense"], ["classifier"]),
    "distilbert": ({**BASE, "model_type": "distilbert", "architectures": ["DistilBertForSequenceClassification"], "dim": 24,
                    "hidden_dim": 40, "n_layers": 2, "n_heads": 4},
                   ["q_lin", "k_lin", "lin1"], ["pre_classifier", "classifier"]),
}


def tiny(fields):
    """The classifier with weights drawn wide, norms and biases too."""
    config = AutoConfig.for_model(**fields)
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager").float().eval()
    g = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            if p.ndim == 1:
                norm = "norm" in name.lower() and name.endswith("weight")
                p.copy_((1.0 if norm else 0.0) + 0.2 * torch.randn(p.shape, generator=g))
            else:
                wide = 1.0 if "embeddings" in name else 1.4 / math.sqrt(p.shape[1])
                p.copy_(wide * torch.randn(p.shape, generator=g))
    return model


def draw_batch(types):
    g = torch.Generator().manual_seed(9)
    ids = torch.zeros(len(LENGTHS), max(LENGTHS), dtype=torch.long)
    mask, token_types = torch.zeros_like(ids), torch.zeros_like(ids)
    for row, (length, first) in enumerate(zip(LENGTHS, FIRSTS)):
        ids[row, :length] = torch.randint(8, VOCAB, (length,), generator=g)
        mask[row, :length] = 1
        token_types[row, first:length] = 1
    return {"input_ids": ids, "attention_mask": mask, **({"token_type_ids": token_types} if types else {})}


def paths_of(model, ends):
    return [n for n, m in model.named_modules() if any(f".{n}".endswith(f".{end}") for end in ends) and hasattr(m, "weight")]


def build(spec, method, starts):
    """-> the model, and its trainable parameters by our names, with the start values in them."""
    fields, targets, whole = spec
    model = tiny(fields).requires_grad_(method == "full")
    if method == "full":
        return model, dict(model.named_parameters())
    named = add_adapter(model, method, paths_of(model, targets), starts)
    for module in whole:
        named.update({f"{module}.{n}": p for n, p in model.get_submodule(module).named_parameters()})
    for p in named.values():
        p.requires_grad_(True)
    return model.eval(), named


def train(model, named, batch):
    plain = [p for n, p in named.items() if n.endswith((".weight", ".bias")) and p.ndim == 1]
    others = [p for p in named.values() if all(p is not other for other in plain)]
    groups = [{"params": others, "weight_decay": DECAY}, {"params": plain, "weight_decay": 0.0}]
    return run_steps(named, groups, lambda: model(**batch, labels=torch.tensor(CLASSES)).loss)


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    transformers.utils.logging.set_verbosity_error()
    out = pathlib.Path(sys.argv[1])
    for family in sys.argv[2:] or FAMILIES:
        spec = FAMILIES[family]
        fields, targets, whole = spec
        folder = out / family
        (folder / "model").mkdir(parents=True, exist_ok=True)
        model, batch = tiny(fields), draw_batch("type_vocab_size" in fields)
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "model" / "model.safetensors", metadata={"format": "pt"})
        (folder / "model" / "config.json").write_text(json.dumps(fields, indent=1) + "\n")
        with torch.no_grad():
            made = model(**batch)
            untyped = {k: v for k, v in batch.items() if k != "token_type_ids"}
            states = {f"hidden.{i}": h.contiguous() for i, h in enumerate(model(**untyped, output_hidden_states=True).hidden_states)}
        save_file({**batch, "classes": torch.tensor(CLASSES), "logits": made.logits.contiguous(), **states}, folder / "batch.safetensors")
        g, starts = torch.Generator().manual_seed(13), {}
        for path in paths_of(model, targets):
            size_out, size_in = model.get_submodule(path).weight.shape
            starts[f"{path}.A"] = torch.randn(RANK, size_in, generator=g) * size_in ** -0.5
            starts[f"{path}.B_probe"] = 0.1 * torch.randn(size_out, RANK, generator=g)
        save_file(starts, folder / "init.safetensors")
        methods, probe, grads = {}, {}, {}
        for method in ("hira", "lora", "dora", "full"):
            log, first = train(*build(spec, method, starts), batch)
            methods[method], probe[f"{method}/probe"] = log, log["loss"][0]
            grads.update({f"{method}/probe/{n}": v for n, v in first.items() if ".1." not in n})
        save_file(grads, folder / "first_gradients.safetensors")
        versions = {"torch": torch.__version__, "transformers": transformers.__version__}
        (folder / "training.json").write_text(json.dumps({**versions, "targets": targets, "saved": whole, "rank": RANK, "alpha": 6,
                                                          "probe_loss": probe, "methods": methods}, indent=1) + "\n")
        print(family, {m: round(v["loss"][0], 4) for m, v in methods.items()}, {m: round(v["loss"][-1], 4) for m, v in methods.items()})


if __name__ == "__main__":
    main()
