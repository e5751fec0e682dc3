#!/usr/bin/env python3
"""PyTorch's side of gpu-check: transformers' generate, or training steps with peft's HiRA and LoRA; prints one JSON line.

usage: peer.py REQUEST_JSON, see PeerRequest in peer.ts (needs torch, transformers and peft; no network).
"""
import json
import sys
import time

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

try:
    from transformers.initialization import no_init_weights
except ImportError:
    from transformers.modeling_utils import no_init_weights

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def wait(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def decode(request, device):
    model = AutoModelForCausalLM.from_pretrained(request["model"], dtype=DTYPES[request["precision"]]).to(device).eval()
    model.generation_config.eos_token_id = None
    ids = torch.tensor(request["prompts"], device=device)
    new = request["newTokens"]

    def run():
        with torch.no_grad():
            found = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=new, pad_token_id=0)
        wait(device)
        return found[:, ids.shape[1]:].tolist()

    run()
    begun = time.perf_counter()
    tokens = run()
    return {"tokens": tokens, "perSecond": len(tokens) * new / (time.perf_counter() - begun)}


def used_mib(device):
    if device.type != "cuda":
        import resource
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    free, total = torch.cuda.mem_get_info(device)
    return (total - free) >> 20


def train_one(request, device, method, checkpointing):
    from peft import HiraConfig, LoraConfig, get_peft_model

    config = AutoConfig.from_pretrained(request["model"])
    torch.manual_seed(0)
    with torch.device(device):
        torch.set_default_dtype(DTYPES[request["precision"]])
        with no_init_weights():
            model = AutoModelForCausalLM.from_config(config)
        torch.set_default_dtype(torch.float32)
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.02) if parameter.dim() > 1 else parameter.data.fill_(1)
    model.config.use_cache = False
    kind = HiraConfig if method == "hira" else LoraConfig
    options = {"r": request["rank"], "target_modules": request["targets"], "task_type": "CAUSAL_LM"}
    model = get_peft_model(model, kind(**options))
    if checkpointing:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.01)
    shape = (request["batch"], request["seq"])
    milliseconds = []
    for _ in range(request["steps"]):
        ids = torch.randint(config.vocab_size, shape, device=device)
        labels = ids.clone()
        labels[:, : request["seq"] - request["labelled"]] = -100
        wait(device)
        begun = time.perf_counter()
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        wait(device)
        milliseconds.append(1000 * (time.perf_counter() - begun))
    return milliseconds, used_mib(device)


def train(request, device):
    found = []
    for method in request["methods"]:
        for checkpointing in request["checkpointing"]:
            row = {"method": method, "checkpointing": checkpointing}
            try:
                row["milliseconds"], row["mib"] = train_one(request, device, method, checkpointing)
            except Exception as error:  # noqa: BLE001  one that does not fit leaves the others
                row["fault"] = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
            found.append(row)
            if device.type == "cuda":
                import gc
                gc.collect()
                torch.cuda.empty_cache()
    return {"steps": found}


def main():
    request = json.loads(sys.argv[1])
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    device = torch.device("cuda:0" if request["device"] != "cpu" and torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = False
    result = {"decode": decode, "train": train}[request["work"]](request, device)
    result["version"] = f"torch {torch.__version__}, transformers {transformers.__version__}"
    print(json.dumps(result))


if __name__ == "__main__":
    main()
