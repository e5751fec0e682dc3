"""Runs the original's convai2_eval.py and metamath_eval.py, whole, on made predictions for real rows and stores their figures.

    python scripts/reference/score_reference.py HIRA EVALUATE NMT DATA OUT

HIRA, EVALUATE, NMT: git directories of hqsiswiliam/hira, huggingface/evaluate and tensorflow/nmt. DATA: the folder with convai2/ and
llm_adapt/. OUT: the folder for convai2.json and math.json. Needs numpy, nltk 3.8.1, rouge-score 0.1.2.

The scripts' own lines run; what they import is put in their place: `evaluate.load` gives Hugging Face's metric classes from EVALUATE
(bleu with compute_bleu of NMT; rouge without its unseeded bootstrap, so that the mean is exact; meteor and bertscore give 0 and are not
stored). The rows' texts are not stored: test/score/reference-rows.ts makes the same ones, and `sha256` is over them.
"""

import fractions
import gzip
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import types

import numpy as np


def show(repository, path):
    return subprocess.run(
        ["git", "-C", repository, "show", f"HEAD:{path}"], check=True, capture_output=True, text=True
    ).stdout


def stub_evaluate(evaluate_repo, nmt_repo, folder):
    """`evaluate`, `datasets`, `dotenv`, `jsonlines` and `tqdm` as far as the scripts use them."""
    package = os.path.join(folder, "hf_metrics")
    os.makedirs(package)
    for name, text in {
        "__init__.py": "",
        "bleu.py": show(evaluate_repo, "metrics/bleu/bleu.py"),
        "tokenizer_13a.py": show(evaluate_repo, "metrics/bleu/tokenizer_13a.py"),
        "rouge.py": show(evaluate_repo, "metrics/rouge/rouge.py"),
        "nmt_bleu.py": show(nmt_repo, "nmt/scripts/bleu.py"),
    }.items():
        with open(os.path.join(package, name), "w") as file:
            file.write(text)
    sys.path.insert(0, folder)

    class Metric:
        def compute(self, predictions, references, **options):
            return self._compute(predictions, references, **options)

    class Zero:
        def compute(self, predictions, references, **_):
            zeros = [0.0] * len(predictions)
            return {"meteor": 0.0, "f1": zeros, "recall": zeros, "precision": zeros}

    identity = lambda *_: lambda target: target
    evaluate = types.ModuleType("evaluate")
    evaluate.Metric = Metric
    evaluate.MetricInfo = lambda **_: None
    evaluate.utils = types.SimpleNamespace(file_utils=types.SimpleNamespace(add_start_docstrings=identity))
    sys.modules["evaluate"] = evaluate
    sys.modules["datasets"] = types.ModuleType("datasets")
    for name, attribute in (("dotenv", "load_dotenv"), ("jsonlines", "open")):
        module = types.ModuleType(name)
        setattr(module, attribute, lambda *_: None)
        sys.modules[name] = module

    # metamath_eval.py imports Fraction of PyPI's fraction 2.2.0; Python's own stands in.
    sys.modules["fraction"] = types.ModuleType("fraction")
    sys.modules["fraction"].Fraction = fractions.Fraction

    from hf_metrics.bleu import Bleu
    from hf_metrics.rouge import Rouge

    class MeanRouge(Rouge):
        def _compute(self, predictions, references):
            scores = super()._compute(predictions, references, use_aggregator=False)
            return {name: float(np.mean(values)) for name, values in scores.items()}

    evaluate.load = lambda name: {"bleu": Bleu, "rouge": MeanRouge}.get(name, Zero)()
    # numpy 2 has dropped it.
    np.asfarray = lambda values: np.asarray(values, dtype=float)


def convai2_rows(data):
    with gzip.open(os.path.join(data, "convai2", "test.json.gz"), "rt") as file:
        rows = json.load(file)[:640]
    targets = [row["output"].strip() for row in rows]
    made = []
    for i, row in enumerate(rows):
        gt, other = targets[i], targets[(i * 7 + 3) % len(rows)]
        words, others = gt.split(" "), other.split(" ")
        half = len(words) // 2
        pred = [
            gt,
            " ".join(word for k, word in enumerate(words) if k % 3 != 2),
            " ".join(words[:half] + others[half:]),
            other,
            "",
            f" {gt} Q: {other}",
            f"{gt.upper()} TARGET: {other}",
            " ".join(reversed(words)) + " R: R: ",
        ][i % 8]
        # Every fifth row has the context of the one before it: one item with two references.
        context = made[-1]["context"] if i % 5 == 1 else row["instruction"]
        made.append({"context": context, "pred": pred, "gt": gt})
    return made


def math_rows(data):
    with open(os.path.join(data, "llm_adapt", "gsm8k", "test.json")) as file:
        rows = json.load(file)
    made = []
    for i, row in enumerate(rows):
        number = int(float(row["answer"]))
        other = rows[(i * 7 + 3) % len(rows)]["output"]
        pred = [
            row["output"],
            f"{row['output']} The answer is: {row['answer']}",
            "The answer is: 1,234,567",
            f"so The answer is: {number}.5",
            "The answer is: none of them",
            other,
            f"The answer is: ${number:,}.",
            f"The answer is: {number * 2}/{i % 3}",
            f"The answer is: 3, no, The answer is: {number} or {number + 1}",
            "The answer is: \u0663 (\u00bd)",
            f"The answer is:{number}",
        ][i % 11]
        made.append({"context": row["instruction"], "pred": pred, "gt": row["output"]})
    return made


def digest(rows):
    text = "\n".join(json.dumps([row["context"], row["pred"], row["gt"]], ensure_ascii=False) for row in rows)
    return hashlib.sha256(text.encode()).hexdigest()


def run(source, folder, rows, name):
    """Runs a script's source in `folder` over one file of rows; returns its variables."""
    run_folder = os.path.join(folder, "results", "run")
    os.makedirs(run_folder, exist_ok=True)
    with open(os.path.join(run_folder, name), "w") as file:
        for row in [{"dataset": "x"}, {"peft_type": "LORA"}, {"mem_used": 1}, {"trainable": 1}, *rows]:
            file.write(json.dumps(row) + "\n")
    os.chdir(folder)
    variables = {"__name__": "__main__"}
    exec(compile(source, name, "exec"), variables)
    return variables


def main():
    hira, evaluate_repo, nmt, data, out = sys.argv[1:]
    data, out = os.path.abspath(data), os.path.abspath(out)
    with tempfile.TemporaryDirectory() as folder:
        stub_evaluate(evaluate_repo, nmt, folder)
        rows = convai2_rows(data)
        source = show(hira, "convai2_eval.py").replace("<fill in your results dir here>", f"{folder}/results")
        variables = run(source, folder, rows, "convai2.jsonl")
        figures = dict(zip(variables["csv_header"][1:-1], variables["csv_row"][1:-1]))
        stored = {
            name: float(value)
            for name, value in figures.items()
            if name != "meteor" and not name.lower().startswith("bert")
        }
        items = [variables["f1_scorer"](p, t) for p, t in zip(variables["predictions"], variables["references"])]
        with open(os.path.join(out, "convai2.json"), "w") as file:
            f1 = [round(float(value), 9) for value in items]
            json.dump({"rows": len(rows), "items": len(items), "sha256": digest(rows), "figures": stored, "f1": f1}, file)
            file.write("\n")
    with tempfile.TemporaryDirectory() as folder:
        os.makedirs(os.path.join(folder, "data_file", "llm_adapt"))
        os.symlink(os.path.join(data, "llm_adapt", "gsm8k"), os.path.join(folder, "data_file", "llm_adapt", "gsm8k"))
        rows = math_rows(data)
        source = show(hira, "metamath_eval.py").replace("<fill your result dir here>", f"{folder}/results")
        variables = run(source, folder, rows, "gsm8k.jsonl")
        numbers = [variables["extract_answer_number"](row["pred"]) for row in rows]
        stored = {
            "rows": len(rows),
            "sha256": digest(rows),
            "figures": {"acc": float(variables["csv_row"][1]), "new acc": float(variables["csv_row"][2])},
            "numbers": numbers,
            "right": "".join("1" if right else "0" for right in variables["answers"]),
            "newRight": "".join("1" if right else "0" for right in variables["new_answers"]),
        }
        with open(os.path.join(out, "math.json"), "w") as file:
            json.dump(stored, file)
            file.write("\n")


main()
