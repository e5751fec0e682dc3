#!/usr/bin/env python3
"""Write test/fixtures/metrics/bert-score.json: what bert-score's matching makes of vectors that an integer rule gives.

usage: python bert_score_cases.py OUT_DIR     (torch, bert-score 0.3.13)
Rows: tokens of the prediction, tokens of the reference, width, seed, precision, recall, F1. The first and last token weigh nothing.
"""
import json
import pathlib
import sys

import torch
from bert_score.utils import greedy_cos_idf


def vectors(tokens, width, seed):
    state, out = seed, []
    for _ in range(tokens * width):
        state = (state * 1664525 + 1013904223) % 2**32
        out.append(((state >> 16) % 2001 - 1000) / 1000)
    return torch.tensor(out, dtype=torch.float64).float().double().view(1, tokens, width)


def weights(tokens):
    return torch.tensor([[0.0] + [1.0] * (tokens - 2) + [0.0]], dtype=torch.float64)


rows = []
for seed, (hyp, ref, width) in enumerate([(5, 7, 8), (12, 3, 16), (3, 3, 4), (2, 6, 8), (20, 25, 32), (9, 9, 2), (4, 2, 8)], 1):
    masks = [torch.ones(1, n, dtype=torch.long) for n in (ref, hyp)]
    values = greedy_cos_idf(
        vectors(ref, width, 100 + seed), masks[0], weights(ref), vectors(hyp, width, seed), masks[1], weights(hyp)
    )
    rows.append([hyp, ref, width, seed, *(round(float(value), 9) for value in values)])
text = json.dumps(rows).replace("], [", "],\n[")
(pathlib.Path(sys.argv[1]) / "bert-score.json").write_text(text + "\n")
