"""The scorers that hira's are held against: HF evaluate's 13a tokenizer, nmt's BLEU, nltk's NIST, pycocoevalcap's CIDEr.

Used by metrics.py and score_rows.py; the folders are checkouts of huggingface/evaluate, tensorflow/nmt and salaniz/pycocoevalcap.
"""
import importlib.util
import types

import nltk.corpus


def module_of(path):
    """A module from its file, without what its package would import beside it."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class NoProperties:
    """Perl's classes of characters, which NISTTokenizer's other method needs when it is imported."""

    def chars(self, _category):
        return ["0"]


def open_packages(evaluate_dir, nmt, coco):
    nltk.corpus.perluniprops = NoProperties()
    from nltk.tokenize.nist import NISTTokenizer
    from nltk.translate.nist_score import corpus_nist

    return types.SimpleNamespace(
        NISTTokenizer=NISTTokenizer, corpus_nist=corpus_nist,
        tokenize_13a=module_of(evaluate_dir / "metrics" / "bleu" / "tokenizer_13a.py").Tokenizer13a(),
        compute_bleu=module_of(nmt / "nmt" / "scripts" / "bleu.py").compute_bleu,
        CiderScorer=module_of(coco / "pycocoevalcap" / "cider" / "cider_scorer.py").CiderScorer)
