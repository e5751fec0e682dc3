#!/usr/bin/env python3
"""A tiny random model of every family, and what transformers and peft make of it: logits, losses, gradients, beams.

usage: python model_goldens.py OUT [FAMILY ...]        (torch, transformers, peft; one CPU thread, some 10 s a family)

OUT/<family>/model is the folder of the model; batch.safetensors, init.safetensors, first_gradients.safetensors and training.json
have the form of the shared goldens (their README.md): HiRA by the authors' formula, LoRA and DoRA by peft, full fine-tuning;
15 steps each. Gradients are stored for the layers of block 0. beams.json has the form of theirs; a case is kept if none of its
tokens moves when all weights are disturbed by 1e-5.
test/fixtures/models/families was made with torch 2.13.0, transformers 5.24.0, peft 0.21.2.
"""
import json
import math
import pathlib
import sys

import torch
import transformers
from hira_torch import add_hira
from peft import LoraConfig, inject_adapter_in_model
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

VOCAB, PAD, BOS, EOS = 64, 3, 1, 2
STEPS, WARMUP, LR, DECAY, CLIP, RANK = 15, 5, 1e-3, 0.01, 1.0, 4
PROMPTS, TARGETS = [20, 13, 9, 17], [4, 2, 3, 4]
IDS = {"vocab_size": VOCAB, "bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD}
DECODER = {
    "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "tie_word_embeddings": False, **IDS,
}
OPT = {"hidden_size": 24, "ffn_dim": 40, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 48,
       "tie_word_embeddings": True, "dropout": 0.1, **IDS}
# Narrower where relu's kinks would tell two right programs apart after some steps.
RELU = {"opt": 0.7}
# config.json's fields; what --target_modules takes; norms and biases are drawn, too
FAMILIES = {
    "gpt2": ({"model_type": "gpt2", "n_embd": 24, "n_head": 4, "n_layer": 2, "n_positions": 48, "n_inner": 40,
              "scale_attn_by_inverse_layer_idx": True, **IDS}, ["c_attn", "mlp.c_proj", "c_fc"]),
    "qwen2": ({**DECODER, "model_type": "qwen2", "head_dim": 8, "tie_word_embeddings": True}, ["q_proj", "v_proj", "down_proj"]),
    "qwen3": ({**DECODER, "model_type": "qwen3", "head_dim": 8, "use_sliding_window": True, "sliding_window": 9,
               "max_window_layers": 1}, ["q_proj", "k_proj", "up_proj"]),
    "opt": ({**OPT, "model_type": "opt"}, ["q_proj", "v_proj", "fc1"]),
    "opt-projected": ({**OPT, "model_type": "opt", "word_embed_proj_dim": 16, "do_layer_norm_before": False},
                      ["k_proj", "out_proj", "fc2", "project_in"]),
    "gemma": ({**DECODER, "model_type": "gemma", "head_dim": 8, "tie_word_embeddings": True, "hidden_act": "gelu_pytorch_tanh"},
              ["q_proj", "v_proj", "gate_proj"]),
    "gemma2": ({**DECODER, "model_type": "gemma2", "num_hidden_layers": 3, "head_dim": 8, "tie_word_embeddings": True,
                "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 12, "sliding_window": 7,
                "attn_logit_softcapping": 4.0, "final_logit_softcapping": 6.0}, ["k_proj", "o_proj", "down_proj"]),
    "phi3": ({**DECODER, "model_type": "phi3", "hidden_size": 32, "sliding_window": 9, "partial_rotary_factor": 0.75,
              "original_max_position_embeddings": 4,
              "rope_scaling": {"type": "longrope", "short_factor": [1.0, 1.1, 1.2], "long_factor": [1.3, 2.0, 3.1]}},
             ["qkv_proj", "gate_up_proj", "down_proj"]),
    "mistral": ({**DECODER, "model_type": "mistral", "head_dim": 8, "sliding_window": 7}, ["q_proj", "v_proj", "gate_proj"]),
}


def tiny(fields):
    """The model with weights drawn wide, so that predictions are peaked; the end of text is likely."""
    config = AutoConfig.for_model(**fields)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    g = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            if p.ndim == 1:
                # Gemma's norms multiply by 1 + weight.
                center = 1.0 if ("norm" in name or "ln_" in name) and "gemma" not in config.model_type else 0.0
                center = 0.0 if name.endswith("bias") else center
                p.copy_(center + 0.2 * torch.randn(p.shape, generator=g))
            else:
                tied = 0.5 if config.tie_word_embeddings else 1.0
                wide = tied if "embed" in name or "wte" in name or "wpe" in name else RELU.get(config.model_type, 1.4) / math.sqrt(min(p.shape))
                p.copy_(wide * torch.randn(p.shape, generator=g))
        head = model.get_output_embeddings().weight
        if not config.tie_word_embeddings:
            head.mul_(0.5)
        head[EOS] *= 1.3
    return model


def draw_batch():
    g = torch.Generator().manual_seed(9)
    context, columns = max(PROMPTS), max(PROMPTS) + max(TARGETS)
    ids = torch.full((4, columns), PAD)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for row, (prompt, target) in enumerate(zip(PROMPTS, TARGETS)):
        text = torch.randint(8, VOCAB, (prompt + target,), generator=g)
        place = slice(context - prompt, context + target)
        ids[row, place], mask[row, place] = text, 1
        labels[row, context:context + target] = text[prompt:]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def positions(mask):
    """As generate counts them: from each row's first token."""
    return (mask.cumsum(1) - 1).clamp(min=0)


def loss_of(model, batch):
    return model(**batch, position_ids=positions(batch["attention_mask"])).loss


def paths_of(model, targets):
    return [n for n, m in model.named_modules() if any(n.endswith(f".{t}") for t in targets) and hasattr(m, "weight")]


def add_adapter(model, method, paths, starts):
    """Puts HiRA, LoRA or DoRA on the layers. -> the parameters by our names, with the start values in them"""
    if method == "hira":
        named = add_hira(model, paths, RANK)
    else:
        inject_adapter_in_model(LoraConfig(r=RANK, lora_alpha=6, use_dora=method == "dora", target_modules=paths), model)
        named = {}
        for path in paths:
            layer = model.get_submodule(path)
            named[f"{path}.A"], named[f"{path}.B"] = layer.lora_A.default.weight, layer.lora_B.default.weight
            if method == "dora":
                named[f"{path}.magnitude"] = layer.lora_magnitude_vector.default.weight
    with torch.no_grad():
        for name, p in named.items():
            if not name.endswith(".magnitude"):
                p.copy_(starts[f"{name}_probe" if name.endswith(".B") else name])
    return named


def run_steps(named, groups, loss_of):
    """-> losses, gradient norms and rates of all steps, and the gradients of the first"""
    optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=LR, foreach=False)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, WARMUP, STEPS)
    log, first = {"loss": [], "grad_norm": [], "lr": []}, {}
    for step in range(STEPS):
        loss = loss_of()
        loss.backward()
        if step == 0:
            first = {n: p.grad.clone().contiguous() for n, p in named.items()}
        log["grad_norm"].append(torch.nn.utils.clip_grad_norm_(list(named.values()), CLIP).item())
        log["loss"].append(loss.item())
        log["lr"].append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return log, first


def build(fields, method, targets, starts):
    """-> the model, and its trainable parameters by our names, with the start values in them."""
    model = tiny(fields).requires_grad_(method == "full")
    if method == "full":
        tied = model.config.tie_word_embeddings
        return model, {n: p for n, p in model.named_parameters() if not (tied and n.startswith("lm_head"))}
    named = add_adapter(model, method, paths_of(model, targets), starts)
    for p in named.values():
        p.requires_grad_(True)
    return model.eval(), named


def decays(name, p, method):
    return method != "full" or p.ndim > 1


def train(model, named, method, batch):
    groups = [{"params": [p for n, p in named.items() if decays(n, p, method)], "weight_decay": DECAY},
              {"params": [p for n, p in named.items() if not decays(n, p, method)], "weight_decay": 0.0}]
    return run_steps(named, groups, lambda: loss_of(model, batch))


def beams_of(fields, lengths, cases):
    g = torch.Generator().manual_seed(21)
    width = max(lengths)
    ids, mask = torch.full((len(lengths), width), PAD), torch.zeros(len(lengths), width, dtype=torch.long)
    for row, length in enumerate(lengths):
        ids[row, width - length:] = torch.randint(8, VOCAB, (length,), generator=g)
        mask[row, width - length:] = 1

    def answer(model, case):
        with torch.no_grad():
            return model.generate(ids, attention_mask=mask, do_sample=False, pad_token_id=PAD, eos_token_id=EOS,
                                  return_dict_in_generate=True, output_scores=True, **case)

    model, others, kept = tiny(fields), [], []
    for seed in range(3):
        other, noise = tiny(fields), torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for p in other.parameters():
                p.mul_(1 + 1e-5 * torch.randn(p.shape, generator=noise))
        others.append(other)
    for case in cases:
        found = answer(model, case)
        tokens = found.sequences[:, width:]
        if not all(torch.equal(tokens, answer(other, case).sequences[:, width:]) for other in others):
            continue
        scores = getattr(found, "sequences_scores", None)
        kept.append({
            "num_beams": 1, "num_return_sequences": 1, "length_penalty": 1.0, "no_repeat_ngram_size": 0, **case,
            "new_tokens": tokens.tolist(), **({} if scores is None else {"sequences_scores": scores.tolist()})})
    return {"input_ids": ids.tolist(), "attention_mask": mask.tolist(), "pad_token_id": PAD, "eos_token_id": EOS, "cases": kept}


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    transformers.utils.logging.set_verbosity_error()
    out = pathlib.Path(sys.argv[1])
    for family in sys.argv[2:] or FAMILIES:
        fields, targets = FAMILIES[family]
        folder = out / family
        (folder / "model").mkdir(parents=True, exist_ok=True)
        model = tiny(fields)
        tied = model.config.tie_word_embeddings
        state = {k: v.contiguous() for k, v in model.state_dict().items() if not (tied and k.startswith("lm_head"))}
        save_file(state, folder / "model" / "model.safetensors", metadata={"format": "pt"})
        (folder / "model" / "config.json").write_text(json.dumps(fields, indent=1) + "\n")
        batch = draw_batch()
        with torch.no_grad():
            logits = model(batch["input_ids"], attention_mask=batch["attention_mask"],
                           position_ids=positions(batch["attention_mask"])).logits
        save_file({**batch, "base_logits": logits.contiguous()}, folder / "batch.safetensors")
        g, starts = torch.Generator().manual_seed(13), {}
        for path in paths_of(model, targets):
            weight = model.get_submodule(path).weight
            size_out, size_in = weight.shape[::-1] if type(model.get_submodule(path)).__name__ == "Conv1D" else weight.shape
            starts[f"{path}.A"] = torch.randn(RANK, size_in, generator=g) * size_in ** -0.5
            starts[f"{path}.B_probe"] = 0.1 * torch.randn(size_out, RANK, generator=g)
        save_file(starts, folder / "init.safetensors")
        methods, probe, grads = {}, {}, {}
        for method in ("hira", "lora", "dora", "full"):
            log, first = train(*build(fields, method, targets, starts), method, batch)
            methods[method], probe[f"{method}/probe"] = log, log["loss"][0]
            grads.update({f"{method}/probe/{n}": v for n, v in first.items() if not any(f".{i}." in n for i in range(1, 9))})
        save_file(grads, folder / "first_gradients.safetensors")
        versions = {"torch": torch.__version__, "transformers": transformers.__version__}
        (folder / "training.json").write_text(json.dumps({**versions, "targets": targets, "rank": RANK, "alpha": 6,
                                                          "probe_loss": probe, "methods": methods}, indent=1) + "\n")
        cases = [{"max_new_tokens": 8}, {"max_new_tokens": 12, "num_beams": 4, "num_return_sequences": 2},
                 {"max_new_tokens": 12, "num_beams": 3, "length_penalty": 0.6, "no_repeat_ngram_size": 3}]
        sets = [beams_of(fields, [14, 6, 11], cases), beams_of(fields, [5], cases)]
        (folder / "beams.json").write_text(json.dumps({"sets": sets}) + "\n")
        print(family, [len(s["cases"]) for s in sets], {m: round(v["loss"][0], 4) for m, v in methods.items()})


if __name__ == "__main__":
    main()
