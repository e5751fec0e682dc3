#!/usr/bin/env python3
"""Write test/fixtures/score/made-up-rows.json: what the reference packages make of 600 made-up rows each of samsum, e2e and mmlu.

usage: python score_rows.py EVALUATE NMT PYCOCOEVALCAP OUT.json

The rows are made by the rule of test/support/made-up-answers.ts, and nothing of them is stored but a digest that tells whether both sides have the
same. EVALUATE, NMT, PYCOCOEVALCAP: as for metrics.py. Installed: nltk 3.8.1, rouge-score 0.1.2, scikit-learn.
"""
import hashlib
import json
import pathlib
import re
import statistics
import sys

from rouge_score import rouge_scorer
from sklearn.metrics import accuracy_score

from reference_packages import open_packages

evaluate_dir, nmt, coco, out = map(pathlib.Path, sys.argv[1:])

packages = open_packages(evaluate_dir, nmt, coco)
tokenize_13a, compute_bleu, CiderScorer = packages.tokenize_13a, packages.compute_bleu, packages.CiderScorer
NISTTokenizer, corpus_nist = packages.NISTTokenizer, packages.corpus_nist

ROWS = 600
WORDS = (
    "the a kettle lamp ladder harp drum shed attic porch hall is was stands lies in on under near old small red blue "
    "well-kept U.S. Dr. 3.5 1,000 50% don't it's \"quoted\" (maybe) café naïve 屋根 — and but who says so , . ! ? : one two"
).split()


class Draws:
    """A linear congruential generator of 32 bits; `below` takes its upper half."""

    def __init__(self, seed):
        self.state = seed

    def below(self, most):
        self.state = (self.state * 1664525 + 1013904223) % 2**32
        return (self.state >> 16) % most


def sentence(draws):
    return " ".join(WORDS[draws.below(len(WORDS))] for _ in range(5 + draws.below(16)))


def disturbed(text, draws):
    """Some words left out, doubled or exchanged; every twentieth text is empty."""
    if draws.below(20) == 0:
        return ""
    kept = []
    for word in text.split(" "):
        draw = draws.below(100)
        if draw < 15:
            continue
        kept.append(WORDS[draws.below(len(WORDS))] if draw < 25 else word)
        if draw > 95:
            kept.append(word)
    return " ".join(kept)


def texts(seed, references):
    """Rows of contexts that have so many references each; the prediction of a context is that of its first row."""
    draws = Draws(seed)
    rows = []
    for item in range(ROWS // references):
        gts = [sentence(draws) for _ in range(references)]
        pred = disturbed(gts[draws.below(references)], draws)
        rows += [{"context": f"item {item}", "pred": pred, "gt": gt} for gt in gts]
    return rows


SUBJECTS = ["abstract algebra", "anatomy", "world religions", "virology"]
FORMS = ["{}", " {}.", "The answer is {}", "({})", "{}{}", "", "b", "{} or not", "Answer:{}", "x{}"]


def letters(seed):
    draws = Draws(seed)
    rows = []
    for item in range(ROWS):
        subject = SUBJECTS[draws.below(len(SUBJECTS))]
        gt = "ABCD"[draws.below(4)]
        said = gt if draws.below(2) == 0 else "ABCD"[draws.below(4)]
        pred = FORMS[draws.below(len(FORMS))].replace("{}", said)
        context = f"The following are multiple choice questions (with answers) about {subject}.\n\nQuestion {item}?\nAnswer:"
        rows.append({"context": context, "pred": pred, "gt": gt})
    return rows


def digest(rows):
    text = "\n".join("\t".join(row[key] for key in ("context", "pred", "gt")) for row in rows)
    return hashlib.sha256(text.encode()).hexdigest()


def items_of(rows):
    items = {}
    for row in rows:
        items.setdefault(row["context"], (row["pred"].strip(), []))[1].append(row["gt"])
    return list(items.values())


rouge = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"])


def rouge_figures(items):
    found = [rouge.score_multi(references, prediction) for prediction, references in items]
    return {
        key: 100 * statistics.fmean(each[name].fmeasure for each in found)
        for key, name in (("rouge1", "rouge1"), ("rouge2", "rouge2"), ("rougel", "rougeL"))
    }


def e2e_figures(items):
    bleu, precisions, *_ = compute_bleu(
        [[tokenize_13a(r) for r in references] for _, references in items], [tokenize_13a(p) for p, _ in items]
    )
    tokenizer = NISTTokenizer()
    nist = corpus_nist(
        [[tokenizer.tokenize(r) for r in references] for _, references in items],
        [tokenizer.tokenize(p) for p, _ in items],
    )
    cider = CiderScorer()
    join = lambda text: " ".join(tokenize_13a(text.lower()))
    for prediction, references in items:
        cider += (join(prediction), [join(r) for r in references])
    figures = {"bleu": 100 * bleu, **{f"bleu{n + 1}": 100 * precisions[n] for n in range(4)}}
    return {**figures, **rouge_figures(items), "NIST": nist, "CIDEr": float(cider.compute_score()[0])}


def letter_of(text):
    found = re.search(r"(?<![^\W_])[ABCD](?![^\W_])", text)
    return found.group() if found else "none"


def mmlu_figures(rows):
    truth, said = [row["gt"] for row in rows], [letter_of(row["pred"]) for row in rows]
    subjects = [row["context"].split(" about ")[1].split(".\n")[0] for row in rows]
    by = {
        name: 100 * accuracy_score(*zip(*[(t, s) for t, s, other in zip(truth, said, subjects) if other == name]))
        for name in SUBJECTS
    }
    return {"acc": 100 * accuracy_score(truth, said)}, by


summaries, meanings, questions = texts(1, 1), texts(2, 3), letters(3)
accuracy, by_subject = mmlu_figures(questions)
result = {
    "samsum": {"digest": digest(summaries), "figures": rouge_figures(items_of(summaries))},
    "e2e_nlg": {"digest": digest(meanings), "figures": e2e_figures(items_of(meanings))},
    "mmlu": {"digest": digest(questions), "figures": accuracy, "groups": by_subject},
}
rounded = lambda value: {key: rounded(item) for key, item in value.items()} if isinstance(value, dict) else value if isinstance(value, str) else round(value, 9)
out.write_text(json.dumps(rounded(result), indent=1) + "\n", encoding="utf-8")
