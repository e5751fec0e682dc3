#!/usr/bin/env python3
"""Write what transformers makes of the fields of generation_config.json, to test/fixtures/decode.

usage: python generation_cases.py OUT_DIR [DEMO_MODEL]     (transformers 5.23, torch; a minute, one CPU thread)

processor_cases.json: fields, a text so far and logits, and the ids and scores that the list of processors leaves, which
GenerationMixin._get_logits_processor makes; for one beam and for three, with and without sampling.
generation_cases.json: fields as a model's folder has them, prompts with left padding, and what generate makes of them. A
case is kept only if no token moves when every weight is disturbed by 1e-5.
folder_cases.json: the same with fields in config.json, as old models have them, beside and without a generation_config.json.
stop_cases.json: stop_strings with the tokenizer of DEMO_MODEL (data_file/demo).
OUT_DIR has tiny-llama of decode_cases.py.
"""
import json
import math
import pathlib
import shutil
import sys
import tempfile

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from decode_cases import BOS, EOS, OTHER_EOS, PAD, VOCAB, disturbed, tiny_model

SMALL = 20  # tokens of a row of logits
GREEDY, BEAMS = {}, {"num_beams": 3}
SAMPLING = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}

# Fields, each alone and several together; ids below SMALL.
RULES = [
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.7},
    {"encoder_repetition_penalty": 1.5},
    {"encoder_repetition_penalty": 0.6},
    {"no_repeat_ngram_size": 2},
    {"encoder_no_repeat_ngram_size": 2},
    {"encoder_no_repeat_ngram_size": 1},
    {"bad_words_ids": [[9], [11, 12], [5, 9, 4], [2]]},
    {"sequence_bias": [[[9], 2.5], [[8, 13], 4.0], [[8, 13], 1.5], [[5, 13], -3.0], [[14], -1.0]]},
    {"min_length": 9},
    {"min_new_tokens": 4},
    {"min_length": 30, "min_new_tokens": 1},
    {"forced_bos_token_id": 7},
    {"forced_eos_token_id": 2},
    {"forced_eos_token_id": [2, 6]},
    {"remove_invalid_values": True, "suppress_tokens": [3, 4], "forced_eos_token_id": 2},
    {"remove_invalid_values": True, "no_repeat_ngram_size": 1},
    {"exponential_decay_length_penalty": [1, 1.4]},
    {"exponential_decay_length_penalty": [1, 0.8]},
    {"suppress_tokens": [0, 5, 18, 400, -1]},
    {"begin_suppress_tokens": [2, 10]},
    {"begin_suppress_tokens": [2, 10], "forced_bos_token_id": 7},
    {"renormalize_logits": True, "suppress_tokens": [0, 1, 2, 3]},
    {"repetition_penalty": 1.2, "sequence_bias": [[[9], 2.5], [[4], -1.0]], "no_repeat_ngram_size": 3,
     "bad_words_ids": [[17]], "min_new_tokens": 3, "suppress_tokens": [6], "exponential_decay_length_penalty": [2, 1.3],
     "encoder_repetition_penalty": 1.1, "renormalize_logits": True},
]
# With sampling: what cuts the distribution, and rules in front of it.
CUTS = [
    {"temperature": 0.6, "top_p": 0.9},
    {"top_k": 5},
    {"min_p": 0.08},
    {"min_p": 1.0},
    {"top_h": 0.4},
    {"top_h": 1.0, "top_k": 4},
    {"typical_p": 0.6},
    {"typical_p": 0.2, "top_k": 9},
    {"epsilon_cutoff": 0.04},
    {"epsilon_cutoff": 0.9},
    {"eta_cutoff": 0.05},
    {"eta_cutoff": 0.9},
    {"temperature": 1.7, "top_k": 12, "top_p": 0.95, "min_p": 0.02, "typical_p": 0.9, "epsilon_cutoff": 0.01,
     "eta_cutoff": 0.02, "top_h": 0.9, "renormalize_logits": True},
    {"temperature": 0.8, "repetition_penalty": 1.4, "top_k": 6, "suppress_tokens": [1, 2, 3]},
    {"repetition_penalty": 1.1, "typical_p": 0.7, "no_repeat_ngram_size": 2},
]
# Padding, prompt, new tokens.
TEXTS = [
    ([], [5], []),
    ([], [5, 9, 4, 5], [9]),
    ([PAD, PAD], [8, 11, 5, 9], [4, 5, 9, 11, 8]),
    ([], [12, 8, 8, 13, 11], [12, 8]),
]


def processed(model, fields, text, eos, seed):
    padding, prompt, new = text
    config = GenerationConfig(**{"max_new_tokens": 6, **fields, "eos_token_id": eos, "pad_token_id": PAD})
    columns = len(padding) + len(prompt)
    for name, value in GenerationConfig._get_default_generation_params().items():
        if getattr(config, name, None) is None:
            setattr(config, name, value)
    model._prepare_special_tokens(config, True, device="cpu", batch_size=1)
    config.max_length = columns + config.max_new_tokens
    if config.min_new_tokens is not None:
        config.min_length = columns + config.min_new_tokens
    ids = torch.tensor([padding + prompt])
    mask = torch.tensor([[0] * len(padding) + [1] * len(prompt)])
    processors = model._get_logits_processor(config, input_ids_seq_length=columns, encoder_input_ids=ids, device="cpu",
                                             model_kwargs={"attention_mask": mask})
    logits = 2.5 * torch.randn(1, SMALL, generator=torch.Generator().manual_seed(seed))
    scores = logits if config.num_beams == 1 else torch.log_softmax(logits, -1)
    out = processors(torch.tensor([padding + prompt + new]), scores.clone())[0].tolist()
    kept = [i for i in range(SMALL) if out[i] > -math.inf]
    return {"fields": fields, "eos": eos, "padding": len(padding), "prompt": prompt, "new_tokens": new,
            "max_new_tokens": config.max_new_tokens, "logits": [round(v, 6) for v in logits[0].tolist()], "kept": kept,
            "scores": [float(f"{out[i]:.6g}") for i in kept]}


def processor_cases(model):
    cases = []
    for mode in (GREEDY, BEAMS):
        for fields in RULES:
            cases += [processed(model, {**mode, **fields}, text, [EOS], 100 + len(cases) + i)
                      for i, text in enumerate(TEXTS)]
        for fields in CUTS:
            cases += [processed(model, {**mode, **SAMPLING, **fields}, text, [EOS, 6], 100 + len(cases) + i)
                      for i, text in enumerate(TEXTS)]
    return cases


# Fields as a folder has them. eos and pad are in every file, since transformers takes none of config.json's then.
FOLDERS = [
    {"max_new_tokens": 12},
    {"max_length": 15},
    {"max_length": 40, "max_new_tokens": 4},
    {"max_new_tokens": 12, "repetition_penalty": 1.3},
    {"max_new_tokens": 12, "repetition_penalty": 0.8},
    {"max_new_tokens": 12, "encoder_repetition_penalty": 1.6},
    {"max_new_tokens": 12, "no_repeat_ngram_size": 2},
    {"max_new_tokens": 12, "encoder_no_repeat_ngram_size": 1},
    {"max_new_tokens": 14, "min_new_tokens": 11},
    {"max_new_tokens": 14, "min_length": 16},
    {"max_new_tokens": 12, "suppress_tokens": [95, 59, 35, 39]},
    {"max_new_tokens": 12, "begin_suppress_tokens": [95, 53, 16]},
    {"max_new_tokens": 12, "bad_words_ids": [[95], [59, 39], [48], [2]]},
    {"max_new_tokens": 12, "sequence_bias": [[[59], 3.0], [[59, 59], -6.0], [[35], -2.5]]},
    {"max_new_tokens": 6, "forced_eos_token_id": 7},
    {"max_new_tokens": 6, "forced_eos_token_id": [7], "remove_invalid_values": True},  # two would tie
    {"max_new_tokens": 5, "forced_bos_token_id": 17},
    {"max_new_tokens": 20, "exponential_decay_length_penalty": [3, 1.6]},
    {"max_new_tokens": 12, "renormalize_logits": True, "repetition_penalty": 1.5, "suppress_tokens": [59]},
    {"max_new_tokens": 10, "repetition_penalty": 1.2, "no_repeat_ngram_size": 3, "min_new_tokens": 5,
     "suppress_tokens": [4], "begin_suppress_tokens": [95], "bad_words_ids": [[39, 67]],
     "sequence_bias": [[[24], 1.5]], "exponential_decay_length_penalty": [6, 1.2]},
]
MODES = [
    {},
    {"num_beams": 3, "num_return_sequences": 2},
    {"num_beams": 4, "length_penalty": 2.0, "early_stopping": True},
    {"num_beams": 2, "num_return_sequences": 2, "early_stopping": "never", "length_penalty": 0.5},
]


def generation_cases(model, others):
    cases, dropped = [], 0
    prompts = [[20], [PAD, PAD, 77, 85, 77], [28, 60, 47, 66, 28]]
    with tempfile.TemporaryDirectory() as folder:
        for i, (mode, fields) in enumerate((m, f) for m in MODES for f in FOLDERS):
            file = {**mode, **fields, "eos_token_id": [EOS, OTHER_EOS][: 1 + i % 2], "pad_token_id": PAD}
            path = pathlib.Path(folder) / "generation_config.json"
            path.write_text(json.dumps(file))
            # One prompt of one token by itself, two together.
            for rows in (prompts[:1], prompts[1:]):
                ids = torch.tensor(rows)
                mask = (ids != PAD).long()
                outputs = []
                for m in (model, *others):
                    m.generation_config = GenerationConfig.from_pretrained(folder)
                    outputs.append(m.generate(ids, attention_mask=mask, return_dict_in_generate=True,
                                              output_scores=True))
                got, *again = outputs
                if any(a.sequences.shape != got.sequences.shape or (a.sequences != got.sequences).any() for a in again):
                    dropped += 1
                    continue
                case = {"file": file, "input_ids": rows, "attention_mask": mask.tolist(),
                        "new_tokens": got.sequences[:, ids.shape[1]:].tolist()}
                if mode:
                    case["sequences_scores"] = [round(s, 6) for s in got.sequences_scores.tolist()]
                cases.append(case)
    print(f"{len(cases)} cases of folders kept, {dropped} dropped", file=sys.stderr)
    return cases


def folder_cases(tiny):
    cases = []
    penalty, lengths = {"repetition_penalty": 1.5}, {"max_length": 12}
    for config, file in (({**penalty, **lengths}, None), (penalty, lengths), ({}, {**penalty, **lengths}),
                         ({"num_beams": 3, "suppress_tokens": [95], "min_length": 9, "max_length": 14}, None)):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            shutil.copytree(tiny, folder, dirs_exist_ok=True)
            known = json.loads((folder / "config.json").read_text())
            (folder / "config.json").write_text(json.dumps({**known, **config}))
            if file is not None:
                # No eos in either text: transformers takes none of config.json's beside this file.
                (folder / "generation_config.json").write_text(json.dumps(file))
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
            ids = torch.tensor([[20, 30, 31]])
            cases.append({"config": config, "file": file, "input_ids": ids.tolist(),
                          "new_tokens": model.generate(ids, pad_token_id=PAD)[:, ids.shape[1]:].tolist()})
    return cases


def stop_cases(path):
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(path)
    cases = []
    for prompt in ("does the", "The home of", "Is it true that the"):
        ids = tokenizer(tokenizer.bos_token + prompt, add_special_tokens=False, return_tensors="pt").input_ids
        for beams in (1, 3):
            plain = model.generate(ids, num_beams=beams, max_new_tokens=16)[0, ids.shape[1]:]
            text = tokenizer.decode(plain)
            # A word's middle, its end with a blank, a text over two words, one that never comes.
            for stop in (text[7:9], text[4:12], [text[-6:-3], "zzz"], ["never said"], prompt[-3:] + text[:3]):
                got = model.generate(ids, num_beams=beams, max_new_tokens=16, stop_strings=stop, tokenizer=tokenizer)
                cases.append({"prompt": prompt, "num_beams": beams, "stop_strings": stop,
                              "new_tokens": got[0, ids.shape[1]:].tolist()})
    return cases


def main():
    out = pathlib.Path(sys.argv[1])
    demo = sys.argv[2] if len(sys.argv) > 2 else "data_file/demo"
    model = tiny_model()
    others = disturbed(model)
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    write = lambda name, cases, key: (out / name).write_text(
        json.dumps({"versions": versions, "cases": cases}).replace('{"%s"' % key, '\n{"%s"' % key) + "\n")
    write("processor_cases.json", processor_cases(model), "fields")
    write("generation_cases.json", generation_cases(model, others), "file")
    write("folder_cases.json", folder_cases(out / "tiny-llama"), "config")
    write("stop_cases.json", stop_cases(demo), "prompt")


if __name__ == "__main__":
    main()
