#!/usr/bin/env python3
"""The encoders of peft's virtual tokens, which its adapter folders lack, and what peft computes with them.

usage: python peft_encoders.py PEFT OUT     PEFT holds base/, see peft_adapters.py

needs torch, transformers, peft; test/fixtures/peft-encoders was made with 2.13.0, 5.24.0 and 0.21.2, on one thread.
A file has the names of PeftModel.state_dict(), as in checkpoints of training loops that save it.
"""
import json
import pathlib
import shutil
import sys

import torch
from peft import PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import save_file
from transformers import LlamaForCausalLM

PROMPT = {"num_virtual_tokens": 3, "task_type": "CAUSAL_LM"}
CONFIGS = {
    "p-tuning": PromptEncoderConfig(encoder_hidden_size=5, **PROMPT),
    "p-tuning-lstm": PromptEncoderConfig(encoder_reparameterization_type="LSTM", encoder_hidden_size=5, **PROMPT),
    "prefix": PrefixTuningConfig(**PROMPT),
    "prefix-projection": PrefixTuningConfig(prefix_projection=True, encoder_hidden_size=5, **PROMPT),
    "prompt-tuning": PromptTuningConfig(**PROMPT),
}
IDS = [[1, 5, 9, 13, 2, 7]]


def main():
    torch.set_num_threads(1)
    peft, out = (pathlib.Path(arg).resolve() for arg in sys.argv[1:3])
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    results = {"input_ids": IDS[0], "logits": {}}
    for name, config in CONFIGS.items():
        torch.manual_seed(5)
        model = get_peft_model(LlamaForCausalLM.from_pretrained(peft / "base"), config).eval()
        for parameter in model.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.5)
        with torch.no_grad():
            rows = model(input_ids=torch.tensor(IDS)).logits[0, -len(IDS[0]):]
        results["logits"][name] = [float(f"{x:.9g}") for x in rows.flatten().tolist()]
        state = {n: p.contiguous() for n, p in model.state_dict().items() if n.startswith("prompt_encoder.")}
        save_file(state, out / f"{name}.safetensors", metadata={"format": "pt"})
    (out / "logits.json").write_text(json.dumps(results) + "\n")


if __name__ == "__main__":
    main()
