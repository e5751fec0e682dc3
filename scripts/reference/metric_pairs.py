"""The pairs of predictions and references that test/support/metric-pairs.ts makes by the same rule, out of real texts.

Predictions are references of which words are dropped, doubled, exchanged and marked by a linear congruential generator; every tenth is
another row's text, and some are empty. Nothing of the texts is stored: digest() tells whether both sides have the same pairs.
"""
import gzip
import hashlib
import json

SOURCES = {
    # name: (path below data/data_file, items)
    "convai2": ("convai2/test.json.gz", 200),
    "samsum": ("samsum/test.json", 150),
    "dailydialog": ("dailydialog/test.jsonl", 100),
    "e2e": ("e2e/test.jsonl", 60),
    "meta_math": ("meta_math/test.json", 60),
    "imdb": ("imdb/test.jsonl", 60),
}


def read_rows(path):
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    if ".jsonl" in path.name:
        return [json.loads(line) for line in text.split("\n") if line]
    return json.loads(text)


def references_of(name, rows):
    """Lists of references, one a pair."""
    if name == "e2e":
        groups = []
        last = None
        for row in rows:
            if row["meaning_representation"] != last:
                groups.append([])
            last = row["meaning_representation"]
            groups[-1].append(row["human_reference"])
        return groups
    field = {
        "convai2": lambda row: row["output"],
        "samsum": lambda row: row["summary"],
        "dailydialog": lambda row: row["dialog"][1],
        "meta_math": lambda row: row["lSolutions"],
        "imdb": lambda row: row["text"],
    }[name]
    return [[field(row)] for row in rows]


def disturb(text, other, seed):
    """The text's words, split at single spaces, some of them changed."""
    words, others = text.split(" "), other.split(" ")
    state = (seed * 2654435761 + 12345) % 2**32
    out = []
    for i, word in enumerate(words):
        state = (state * 1664525 + 1013904223) % 2**32
        draw = (state >> 16) % 100
        if draw < 10:
            continue
        if draw < 14:
            out += [word, word]
        elif draw < 22:
            out.append(others[i % len(others)])
        elif draw < 26:
            out.append(word.lower())
        elif draw < 29:
            out.append(word + "s")
        elif draw < 31:
            out.append(word + ",")
        elif draw < 33:
            out += ["Mr.", word]
        elif draw < 35:
            out[len(out) // 2 : len(out) // 2] = [word]
        else:
            out.append(word)
    return " ".join(out)


def make_pairs(name, data_file):
    path, items = SOURCES[name]
    groups = references_of(name, read_rows(data_file / path))[: items + 2]
    pairs = []
    for i in range(items):
        references = list(groups[i])
        if i % 4 == 3 and len(references) == 1:
            references.append(groups[i + 2][0])
        if i % 50 == 49:
            prediction = ""
        elif i % 10 == 9:
            prediction = groups[i + 1][0]
        else:
            prediction = disturb(references[0], groups[i + 1][0], i)
        pairs.append((prediction, references))
    return pairs


def digest(pairs):
    return hashlib.sha256("\0".join("\1".join([p, *r]) for p, r in pairs).encode("utf-8")).hexdigest()[:16]
