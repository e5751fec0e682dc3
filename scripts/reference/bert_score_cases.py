#!/usr/bin/env python3
"""Write what bert-score makes of vectors that an integer rule gives, and of texts with a tiny random encoder.

usage: python bert_score_cases.py OUT_DIR                                  (torch, transformers, bert-score 0.3.13; test/fixtures/metrics)
       python bert_score_cases.py --score FOLDER LAYER RESULTS.jsonl       BERTScore of a file of answers, as convai2_eval.py asks for it

OUT_DIR/bert-score.json has rows: tokens of the prediction, tokens of the reference, width, seed, precision, recall, F1. The first and
last token weigh nothing. OUT_DIR/bert-encoder is a BERT of two layers with the tokenizer that wordpiece_texts.py makes;
bert-encoder.json has, by layer, rows [prediction, references, precision, recall, F1].
"""
import json
import pathlib
import shutil
import sys

import torch
import transformers
from bert_score import BERTScorer
from bert_score.utils import greedy_cos_idf


def vectors(tokens, width, seed):
    state, out = seed, []
    for _ in range(tokens * width):
        state = (state * 1664525 + 1013904223) % 2**32
        out.append(((state >> 16) % 2001 - 1000) / 1000)
    return torch.tensor(out, dtype=torch.float64).float().double().view(1, tokens, width)


def weights(tokens):
    return torch.tensor([[0.0] + [1.0] * (tokens - 2) + [0.0]], dtype=torch.float64)


def matching():
    rows = []
    for seed, (hyp, ref, width) in enumerate([(5, 7, 8), (12, 3, 16), (3, 3, 4), (2, 6, 8), (20, 25, 32), (9, 9, 2), (4, 2, 8)], 1):
        masks = [torch.ones(1, n, dtype=torch.long) for n in (ref, hyp)]
        values = greedy_cos_idf(
            vectors(ref, width, 100 + seed), masks[0], weights(ref), vectors(hyp, width, seed), masks[1], weights(hyp)
        )
        rows.append([hyp, ref, width, seed, *(round(float(value), 9) for value in values)])
    return json.dumps(rows).replace("], [", "],\n[") + "\n"


def scores(folder, layer, predictions, references):
    """[precision, recall, F1] an item: each the best of its references."""
    scorer = BERTScorer(model_type=str(folder), num_layers=layer, idf=False, rescale_with_baseline=False, device="cpu")
    tokenizer = scorer._tokenizer
    if not hasattr(tokenizer, "build_inputs_with_special_tokens"):  # gone from transformers 5: of no tokens it gave these
        tokenizer.build_inputs_with_special_tokens = lambda ids: [tokenizer.cls_token_id, *ids, tokenizer.sep_token_id]
    return [list(values) for values in zip(*(each.tolist() for each in scorer.score(predictions, references)))]


def tiny_encoder(folder, tokenizer):
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tokenizer / name, folder / name)
    torch.manual_seed(4)
    config = transformers.BertConfig(vocab_size=320, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
                                     max_position_embeddings=64, initializer_range=0.5)
    model = transformers.BertModel(config, add_pooling_layer=False).eval()
    model.save_pretrained(folder)


ITEMS = [
    ("The children walked along the river.", ["The children walked along the old bridge."]),
    ("he didn't", ["He did not.", "She didn't think so", "nobody did"]),
    ("  white space around  ", ["white space around"]),
    ("", ["not empty"]),
    ("not empty", ["", "is it"]),
    ("", [""]),
    ("a [SEP] b [CLS] c", ["a b c"]),
    ("same text", ["same text"]),
    ("An overlong, underwritten and unfunny mess. " * 6, ["A film as warm as it is honest. " * 7]),
    ("caf\u00e9 na\u00efve \u6771\u4eac", ["cafe naive \u4eac\u6771"]),
    ("?!", ["!", "?", "..."]),
    ("walks", ["walked unwalked walking walker"]),
]


def main():
    transformers.utils.logging.set_verbosity_error()
    torch.set_num_threads(1)
    if sys.argv[1] == "--score":
        rows = [json.loads(line) for line in open(sys.argv[4], encoding="utf8")]
        items = []
        for row in (row for row in rows if "context" in row):
            pred = row["pred"]
            for mark in ("TARGET:", "Q:", "R:"):
                pred = pred.split(mark)[0] if mark in pred else pred
            if items and items[-1][0] == row["context"]:
                items[-1][2].append(row["gt"])
            else:
                items.append((row["context"], pred.strip(), [row["gt"]]))
        found = torch.tensor(scores(sys.argv[2], int(sys.argv[3]), [p for _, p, _ in items], [r for _, _, r in items]), dtype=torch.float64)
        print(len(items), "items; precision, recall, F1:", *(100 * found.mean(0)).tolist())
        return
    out = pathlib.Path(sys.argv[1])
    (out / "bert-score.json").write_text(matching())
    folder = out / "bert-encoder"
    tiny_encoder(folder, out.parent / "tokenizer/wordpiece")
    stored = {layer: [[p, r, *values] for (p, r), values in zip(ITEMS, scores(folder, layer, [p for p, _ in ITEMS], [r for _, r in ITEMS]))]
              for layer in (1, 2)}
    (out / "bert-encoder.json").write_text(json.dumps(stored, indent=1) + "\n")


if __name__ == "__main__":
    main()
