"""Rows, token ids and labels as the HiRA authors' own functions make them, as hashes.

python original_rows.py REPO SHARED OUT.json

REPO is a clone of hqsiswiliam/hira (a bare one will do), read at HEAD; SHARED the folder with data/data_file and data/tokenizers.
Runs HGDataset of dataset/dataset_hg.py and format_causal_input of dataset/format_inputs.py on the first rows of every set, and writes
for each row, each as the first 8 hexadecimal digits of a SHA-256: context and target (joined by U+0000, the target stripped), the ids,
the attention mask and the labels of the training row (ids and labels as little-endian int32, the mask as bytes; the first label as
-100, since nothing predicts it), and the ids of the prompt for decoding. No text of the data is written.
Ran with torch 2.13.0 and transformers 5.24; the data set library is replaced by a reader of the same files.
"""

import gzip
import hashlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
import types

import numpy as np
from transformers import PreTrainedTokenizerFast

REPO, SHARED, OUT = (os.path.abspath(path) for path in sys.argv[1:4])
DATA = os.path.join(SHARED, "data/data_file")
ROWS = 200

# name: split that serves as training rows, template (train_hira.py's data_collator_e2e)
SETS = {
    "boolq": ("train", 4),
    "gsm8k": ("train", 4),
    "meta_math": ("train", 0),
    "convai2": ("train", 0),
    "e2e_nlg": ("train", 0),
    "e2e_cleaned": ("validation", 0),
    "samsum": ("train", 0),
    "dailydialog": ("train", 0),
    "mmlu": ("validation", 7),
}
TOKENIZERS = {
    "tokenizers/smollm2-135m-instruct": ROWS,
    "models/stories260K": 40,
}


def read(folder, split):
    for name in (split, "val" if split == "validation" else split):
        for ending in (".json", ".json.gz", ".jsonl", ".jsonl.gz"):
            path = os.path.join(DATA, folder, name + ending)
            if os.path.exists(path):
                with (gzip.open if path.endswith(".gz") else open)(path, "rt", encoding="utf-8") as file:
                    text = file.read()
                if text.lstrip().startswith("["):
                    return json.loads(text)
                return [json.loads(line) for line in text.split("\n") if line.strip()]
    raise FileNotFoundError(f"{folder}/{split}")


class Columns:
    """What a slice of the data set library's Dataset is: a dict of columns."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, part):
        rows = self.rows[part]
        return {name: [row[name] for row in rows] for name in self.rows[0]}


def mmlu_rows(rows):
    """Questions as rows of instruction and output, as hira makes them: the authors' own are not published."""
    head = "The following are multiple choice questions (with answers) about {}.\n\n{}\n{}\nAnswer:"
    return [
        {
            "instruction": head.format(
                row["subject"].replace("_", " "),
                row["question"].strip(),
                "\n".join(f"{letter}. {choice}" for letter, choice in zip("ABCD", row["choices"])),
            ),
            "output": row["answer"],
        }
        for row in rows
    ]


def digest(data):
    return hashlib.sha256(data).hexdigest()[:8]


def ids_digest(ids):
    return digest(np.asarray(ids, dtype="<i4").tobytes())


with tempfile.TemporaryDirectory() as work:
    tree = subprocess.run(["git", "-C", REPO, "archive", "HEAD", "dataset"], check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", work], input=tree, check=True)
    library = types.ModuleType("datasets")
    library.load_dataset = None
    sys.modules["datasets"] = library
    sys.path.insert(0, work)
    format_inputs = importlib.import_module("dataset.format_inputs")
    dataset_hg = importlib.import_module("dataset.dataset_hg")

    result = {"rows": ROWS, "sets": {}}
    for name, (split, template) in SETS.items():
        path = format_inputs.dataset_map[name]
        kind = format_inputs.task_map[name]
        found = read(path.removeprefix("data_file/"), split)
        if name == "mmlu":
            found = mmlu_rows(found)
        target = os.path.join(work, path)
        os.makedirs(target, exist_ok=True)
        with open(os.path.join(target, "train.json"), "w", encoding="utf-8") as file:
            json.dump(found, file)
        library.load_dataset = lambda _path, rows=found: {"train": Columns(rows)}
        dataset_hg.load_dataset = library.load_dataset
        os.chdir(work)
        rows = dataset_hg.HGDataset(path, "train", kind)
        entry = {"split": split, "template": template, "rows": len(rows), "encoded": {}}
        for tokenizer_name, count in TOKENIZERS.items():
            sides = {}
            for side in ("left", "right"):
                tokenizer = PreTrainedTokenizerFast.from_pretrained(os.path.join(SHARED, "data", tokenizer_name))
                tokenizer.padding_side = side
                tokenizer.truncation_side = "right"
                if tokenizer.pad_token_id is None:
                    tokenizer.pad_token = tokenizer.unk_token
                sides[side] = tokenizer
            lines, masked = [], 0
            for index in range(min(count, len(rows))):
                row = rows[index]
                batch = {"input": [row["input"]], "target": [row["target"]]}
                options = {
                    "template_type": template,
                    "max_token_length": format_inputs.token_length_map[name],
                    "shift_target": False,
                    "target_length": format_inputs.gen_max_new_token_map[name],
                }
                inputs, labels = format_inputs.format_causal_input(batch, sides["left"], sides["right"], **options)
                labels = labels.clone()
                labels[labels == sides["left"].pad_token_id] = -100
                masked += int(template != 4 and labels[0, 1] == -100)
                labels[0, 0] = -100
                prompt, _ = format_inputs.format_causal_input(
                    batch, sides["left"], sides["right"], for_test=True, **options
                )
                text = f"{row['input']}\0{row['target'].strip()}"
                lines.append(
                    " ".join(
                        [
                            digest(text.encode("utf-8")),
                            ids_digest(inputs["input_ids"][0].numpy()),
                            digest(inputs["attention_mask"][0].numpy().astype("uint8").tobytes()),
                            ids_digest(labels[0].numpy()),
                            ids_digest(prompt["input_ids"][0].numpy()),
                        ]
                    )
                )
            entry["encoded"][tokenizer_name] = {"masked": masked, "lines": lines}
        result["sets"][name] = entry
        print(name, entry["rows"], {key: value["masked"] for key, value in entry["encoded"].items()})

with open(OUT, "w", encoding="utf-8") as file:
    json.dump(result, file, indent=1)
    file.write("\n")
