#!/usr/bin/env python3
"""Write test/fixtures/decode: a tiny Llama, what transformers' generate makes of it, and what its warpers keep.

usage: python decode_cases.py OUT_DIR        (torch, transformers, safetensors; some 20 s, one CPU thread)

beam_cases.json has the form of the golden beams: sets of left-padded prompts, and cases with settings, new tokens
(filled with the pad token after the end) and sequences_scores. A case is kept only if none of its tokens moves when
every weight is disturbed by 1e-5 (relative, three draws), so that a right implementation must reproduce it exactly.
wide_beam_cases.json: the same with more beams than prompt and new tokens together, and than the vocabulary has tokens.
warper_cases.json: log-probabilities, settings, and the ids and scores that survive temperature, top-k and top-p.
"""
import itertools
import json
import math
import pathlib
import sys

import torch
import transformers
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.generation.logits_process import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper
from transformers.utils import logging as hf_logging

PAD, BOS, EOS, OTHER_EOS, VOCAB = 3, 1, 2, 7, 96
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)
hf_logging.set_verbosity_error()
hf_logging.disable_progress_bar()


def tiny_model():
    """A random Llama whose weights are wide enough for peaked predictions; the ends of text are likely."""
    config = LlamaConfig(vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=2, head_dim=8, max_position_embeddings=128,
                         rms_norm_eps=1e-5, tie_word_embeddings=False, bos_token_id=BOS, eos_token_id=EOS,
                         pad_token_id=PAD, attention_bias=False, mlp_bias=False, dtype="float32")
    config.rope_parameters = {"rope_type": "default", "rope_theta": 10000.0}
    model = LlamaForCausalLM(config).float().eval()
    g = torch.Generator().manual_seed(77)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            if p.ndim == 1:
                p.copy_(1 + 0.1 * torch.randn(p.shape, generator=g))
            else:
                std = 1.0 if "embed" in name else 0.45 if "lm_head" in name else 1.3 / math.sqrt(p.shape[1])
                p.copy_(std * torch.randn(p.shape, generator=g))
        model.lm_head.weight[EOS] *= 1.5
        model.lm_head.weight[OTHER_EOS] *= 1.3
    return model


def write_model(model, folder):
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "model.safetensors",
              metadata={"format": "pt"})
    keys = ("vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads head_dim "
            "max_position_embeddings rms_norm_eps tie_word_embeddings bos_token_id eos_token_id pad_token_id "
            "attention_bias mlp_bias hidden_act model_type").split()
    config = {"architectures": ["LlamaForCausalLM"], **{k: getattr(model.config, k) for k in keys},
              "rope_theta": 10000.0, "torch_dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def disturbed(model):
    """Three copies with every weight off by 1e-5 relative."""
    copies = []
    for seed in range(3):
        g = torch.Generator().manual_seed(seed)
        copy = tiny_model()
        with torch.no_grad():
            for p in copy.parameters():
                p.mul_(1 + 1e-5 * torch.randn(p.shape, generator=g))
        copies.append(copy)
    return copies


def answers_of(grid, model, others, lengths, eos, seed):
    """What the model answers to drawn prompts of these lengths, by each setting that all disturbed copies agree on."""
    g = torch.Generator().manual_seed(seed)
    rows = [torch.randint(8, VOCAB, (n,), generator=g).tolist() for n in lengths]
    wide = max(lengths)
    ids = torch.tensor([[PAD] * (wide - len(r)) + r for r in rows])
    mask = torch.tensor([[0] * (wide - len(r)) + [1] * len(r) for r in rows])
    cases = []
    for case in grid:
        got, *again = [m.generate(input_ids=ids, attention_mask=mask, do_sample=False, eos_token_id=eos,
                                  pad_token_id=PAD, return_dict_in_generate=True, output_scores=True, **case)
                       for m in (model, *others)]
        if any(a.sequences.shape != got.sequences.shape or (a.sequences != got.sequences).any() for a in again):
            continue
        cases.append({**case, "new_tokens": got.sequences[:, wide:].tolist(),
                      "sequences_scores": [round(s, 6) for s in got.sequences_scores.tolist()]})
    print(f"prompts of {lengths}, eos {eos}: {len(cases)} of {len(grid)} cases kept", file=sys.stderr)
    return {"input_ids": ids.tolist(), "attention_mask": mask.tolist(), "pad_token_id": PAD, "eos_token_id": eos,
            "cases": cases}


def cases_of(model, others, lengths, eos, seed):
    """Every combination of the search's settings, a third of them for each set to keep the file small."""
    grid = itertools.product((2, 3, 5), (False, True, "never"), (-0.5, 0.0, 1.0, 2.0), (0, 3), (6, 20))
    return answers_of([{"num_beams": beams, "num_return_sequences": (1, beams)[i % 2], "early_stopping": early,
                        "length_penalty": penalty, "no_repeat_ngram_size": ngram, "max_new_tokens": new}
                       for i, (beams, early, penalty, ngram, new) in enumerate(grid) if i % 3 == seed % 3],
                      model, others, lengths, eos, seed)


def wide_cases_of(model, others, lengths, eos, seed):
    """More beams than columns: up to twice the vocabulary, down to prompts of one token and one new token."""
    grid = itertools.product((4, 8, 40, 96, 97, 200), (1, 2, 5), (False, True))
    return answers_of([{"num_beams": beams, "num_return_sequences": min(beams, 6), "early_stopping": early,
                        "length_penalty": 1.0, "no_repeat_ngram_size": 0, "max_new_tokens": new}
                       for beams, new, early in grid], model, others, lengths, eos, seed)


def warper_cases():
    g = torch.Generator().manual_seed(5)
    cases = []
    for temperature, top_k, top_p, fewest in itertools.product((1.0, 0.1, 2.0), (0, 1, 5), (1.0, 0.75, 0.3, 0.0), (1, 2, 3)):
        log_probs = torch.log_softmax(2 * torch.randn(1, 14, generator=g, dtype=torch.float64), -1)
        scores = TemperatureLogitsWarper(temperature)(None, log_probs)
        if top_k:
            scores = TopKLogitsWarper(top_k, min_tokens_to_keep=fewest)(None, scores)
        if top_p < 1:
            scores = TopPLogitsWarper(top_p, min_tokens_to_keep=fewest)(None, scores)
        kept = [i for i in range(14) if scores[0, i] > -math.inf]
        cases.append({"temperature": temperature, "top_k": top_k, "top_p": top_p, "fewest": fewest,
                      "log_probs": [round(v, 6) for v in log_probs[0].tolist()], "kept": kept,
                      "scores": [round(scores[0, i].item(), 6) for i in kept]})
    return cases


def main():
    out = pathlib.Path(sys.argv[1])
    model = tiny_model()
    write_model(model, out / "tiny-llama")
    others = disturbed(model)
    sets = [cases_of(model, others, [4, 7, 2], EOS, 30), cases_of(model, others, [5, 1, 6], [EOS, OTHER_EOS], 31)]
    wide = [wide_cases_of(model, others, [1], EOS, 32), wide_cases_of(model, others, [4, 1, 2], [EOS, OTHER_EOS], 33)]
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    lines = lambda text, key: text.replace('{"%s"' % key, '\n{"%s"' % key) + "\n"
    (out / "beam_cases.json").write_text(lines(json.dumps({"versions": versions, "sets": sets}), "num_beams"))
    (out / "wide_beam_cases.json").write_text(lines(json.dumps({"versions": versions, "sets": wide}), "num_beams"))
    (out / "warper_cases.json").write_text(lines(json.dumps({"versions": versions, "cases": warper_cases()}), "temperature"))


if __name__ == "__main__":
    main()
