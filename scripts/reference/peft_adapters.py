#!/usr/bin/env python3
"""Adapter folders made by the peft package, and what peft makes of those that hira wrote.

usage: python peft_adapters.py make OUT         a tiny base model, an adapter folder a method, and logits.json
       python peft_adapters.py check OUT OURS   loads OURS/<method> in peft, writes OUT/loaded-by-peft.json

needs torch, transformers, peft; the fixtures were made with 2.13.0, 5.24.0 and 0.21.2, on one thread.
OURS comes from scripts/reference/rewrite-adapters.ts, which reads OUT's adapters and writes them with hira.
"""
import hashlib
import json
import pathlib
import shutil
import sys
import warnings

import torch
from peft import (HiraConfig, LoraConfig, PeftModel, PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig,
                  get_peft_model, get_peft_model_state_dict)
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

TASK = {"task_type": "CAUSAL_LM"}
LOW_RANK = {"r": 2, "target_modules": ["q_proj", "v_proj", "down_proj"], **TASK}
CONV = {"r": 2, "target_modules": ["c_attn", "mlp.c_proj"], **TASK}
TABLES = ["embed_tokens", "lm_head"]
PROMPT = {"num_virtual_tokens": 3, **TASK}
CONFIGS = {
    # peft 0.21.2 leaves this rank_pattern without effect
    "hira": HiraConfig(rank_pattern={"layers.1.self_attn.v_proj": 3}, **LOW_RANK),
    "lora": LoraConfig(lora_alpha=6, alpha_pattern={"down_proj": 5}, rank_pattern={"layers.0.*q_proj": 1}, **LOW_RANK),
    "rslora": LoraConfig(lora_alpha=4, use_rslora=True, r=2, target_modules=r".*layers\.1\..*(up|gate)_proj", **TASK),
    "dora": LoraConfig(lora_alpha=4, use_dora=True, r=2, target_modules=["k_proj"], layers_to_transform=[1], **TASK),
    "prefix": PrefixTuningConfig(**PROMPT),
    "prefix-projection": PrefixTuningConfig(prefix_projection=True, encoder_hidden_size=5, **PROMPT),
    "p-tuning": PromptEncoderConfig(encoder_hidden_size=5, **PROMPT),
    "prompt-tuning": PromptTuningConfig(**PROMPT),
    "lora-layers": LoraConfig(layers_to_transform=[1], rank_pattern={"v_proj": 3}, lora_dropout=0.1, **LOW_RANK),
    "hira-layers": HiraConfig(layers_to_transform=[0], **LOW_RANK),
    "lora-saved": LoraConfig(modules_to_save=["lm_head", "embed_tokens", "norm"], **LOW_RANK),
    "hira-saved": HiraConfig(modules_to_save=["layers.0.mlp.down_proj", "lm_head"], **LOW_RANK),
    "dora-saved-tied-head": LoraConfig(use_dora=True, modules_to_save=["lm_head"], **LOW_RANK),
    "lora-saved-tied-embedding": LoraConfig(modules_to_save=["embed_tokens"], **LOW_RANK),
    "p-tuning-lstm": PromptEncoderConfig(encoder_reparameterization_type="LSTM", encoder_hidden_size=5, **PROMPT),
    "lora-embedding": LoraConfig(lora_alpha=6, r=2, rank_pattern={"embed_tokens": 3}, lora_dropout=0.1,
                                 target_modules=["q_proj", "embed_tokens", "lm_head"], **TASK),
    "rslora-embedding": LoraConfig(lora_alpha=4, use_rslora=True, r=2, target_modules=r".*(embed_tokens|k_proj)", **TASK),
    "dora-embedding": LoraConfig(lora_alpha=4, use_dora=True, r=2, target_modules=["v_proj", *TABLES], **TASK),
    "lora-on-tied-embedding": LoraConfig(r=2, target_modules=["q_proj", "embed_tokens"], **TASK),
    "dora-on-tied-head": LoraConfig(r=2, use_dora=True, target_modules=["q_proj", "lm_head"], **TASK),
    "lora-on-tied-both": LoraConfig(r=2, target_modules=["q_proj", *TABLES], **TASK),
    "lora-tying-tied-both": LoraConfig(r=2, ensure_weight_tying=True, target_modules=["q_proj", "embed_tokens"], **TASK),
    "lora-head-saved-embedding": LoraConfig(r=2, target_modules=["lm_head"], modules_to_save=["embed_tokens"], **TASK),
    "dora-rslora": LoraConfig(lora_alpha=4, use_dora=True, use_rslora=True, lora_dropout=0.1,
                              rank_pattern={"layers.1.*v_proj": 3}, alpha_pattern={"down_proj": 5}, **LOW_RANK),
    "dora-saved": LoraConfig(use_dora=True, modules_to_save=["lm_head", "norm"], exclude_modules=r".*\.0\..*q_proj", **LOW_RANK),
    # on GPT-2, whose layers are Conv1D: peft writes fan_in_fan_out
    "conv-hira": HiraConfig(**CONV),
    "conv-lora": LoraConfig(lora_alpha=6, rank_pattern={"h.1.attn.c_attn": 3}, **CONV),
    "conv-dora": LoraConfig(lora_alpha=4, use_dora=True, modules_to_save=["c_fc"], **CONV),
}
IDS = [[1, 5, 9, 13, 2, 7]]


def base_name(name):
    if name.startswith("conv-"):
        return "base-conv"
    return "base-tied" if "-tied-" in name else "base"


def base_model(out, name="base"):
    return AutoModelForCausalLM.from_pretrained(out / base_name(name))


def logits(model):
    model.eval()
    with torch.no_grad():
        # virtual tokens come before the first position
        rows = model(input_ids=torch.tensor(IDS)).logits[0, -len(IDS[0]):]
    return [float(f"{x:.9g}") for x in rows.flatten().tolist()]


def make(out):
    torch.manual_seed(7)
    config = LlamaConfig(vocab_size=16, hidden_size=8, intermediate_size=12, num_hidden_layers=2,
                         num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=64, pad_token_id=3)
    base = LlamaForCausalLM(config)
    for parameter in base.parameters():
        torch.nn.init.normal_(parameter, mean=1 if parameter.dim() == 1 else 0, std=0.5)
    base.save_pretrained(out / "base")
    with torch.random.fork_rng():
        config.tie_word_embeddings = True
        tied = LlamaForCausalLM(config)
        tied.load_state_dict({k: v for k, v in base.state_dict().items() if k != "lm_head.weight"}, strict=False)
        tied.tie_weights()
        tied.save_pretrained(out / "base-tied")
        conv = GPT2LMHeadModel(GPT2Config(vocab_size=16, n_embd=8, n_inner=12, n_layer=2, n_head=2, n_positions=24,
                                          bos_token_id=1, eos_token_id=2))
        for parameter in conv.parameters():
            torch.nn.init.normal_(parameter, mean=1 if parameter.dim() == 1 else 0, std=0.5)
        conv.save_pretrained(out / "base-conv")
    results = {"input_ids": IDS[0], "logits": {"base": logits(base)}}
    for name, peft_config in CONFIGS.items():
        model = get_peft_model(base_model(out, name), peft_config)
        for parameter in model.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, mean=1 if parameter.dim() == 1 else 0, std=0.5)
        folder = out / name
        # no copies of the base's tables beside adapted ones: peft_vocabulary.py has those
        model.save_pretrained(folder, save_embedding_layers=False)
        (folder / "README.md").unlink()
        # the path of the machine it was made on is of no use
        text = (folder / "adapter_config.json").read_text()
        (folder / "adapter_config.json").write_text(text.replace(str(out / base_name(name)), "tiny-base"))
        results["logits"][name] = logits(PeftModel.from_pretrained(base_model(out, name), folder))
    (out / "logits.json").write_text(json.dumps(results) + "\n")


def check(out, ours):
    results = {}
    expected = json.loads((out / "logits.json").read_text())["logits"]
    for name in CONFIGS:
        folder = str(ours / name)
        with warnings.catch_warnings():
            # peft warns of missing and unexpected keys and of unknown fields
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", FutureWarning)
            # what our own docs say too: the head and the embedding are tied no longer
            warnings.filterwarnings("ignore", message=".*ensure_weight_tying.*")
            model = PeftModel.from_pretrained(base_model(out, name), folder)
        file = load_file(f"{folder}/adapter_model.safetensors")
        # a config that names no model folder: peft would look for it on the Hub
        loaded = get_peft_model_state_dict(model, save_embedding_layers=False)
        difference = max(abs(a - b) for a, b in zip(logits(model), expected[name], strict=True))
        results[name] = {
            "missing": sorted(set(loaded) - set(file)),
            "unexpected": sorted(set(file) - set(loaded)),
            "different": [key for key in file if key in loaded and not torch.equal(file[key], loaded[key])],
            "largest_logit_difference": difference,
            "sha256": {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted((ours / name).iterdir())},
        }
    (out / "loaded-by-peft.json").write_text(json.dumps(results, indent=1) + "\n")


def main():
    torch.set_num_threads(1)
    mode, out = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
    if mode == "make":
        shutil.rmtree(out, ignore_errors=True)
        make(out)
    else:
        check(out, pathlib.Path(sys.argv[3]))


if __name__ == "__main__":
    main()
