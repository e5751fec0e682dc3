"""Stores what the `tokenizers` library (Python) makes of real and made-up texts.

usage: python tokenize_texts.py SHARED_DATA OUT_FOLDER
SHARED_DATA has tokenizers/, models/ and data_file/. Written into OUT_FOLDER:
- llama3-style/tokenizer.json and tokenizer_config.json: a small byte-level BPE, trained here on TRAINING_TEXT, with the
  pre-tokenizer, the ignore_merges and the special tokens of Llama-3's;
- reference.json: one object a tokenizer, {tokenizer, made_up: [[text, ids, decoded, decoded without special tokens]],
  rows: [[file, row, field, number of ids, digest of the ids, digest of the decoded text]]}; a digest is the first 16
  hexadecimal digits of the SHA-256 of the ids joined by commas, or of the text.
Seen with tokenizers 0.23.3. test/tokenizer/tokenizer.test.ts reads the files.
"""
import gzip
import hashlib
import json
import random
import sys
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

TEMPLATE = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.  \n\n"
    "### Instruction:\n{}\n\n### Response:\n"
)
MADE_UP = [
    " ", "  ", "\n", "\n\n", "\t a", "a", "Hello world", "Hello  world ", " leading and trailing ",
    "It's the dog's, isn't it? They'll; we've; I'm; you'd.", "1234567890 3.14 1,000,000 12:30", "a\r\nb\r\n\r\nc",
    "déjà vu, naïve café, Ünïcödé", "e\u0301 versus \u00e9", "日本語のテキスト。", "Привет, мир!", "مرحبا بالعالم", "नमस्ते",
    "😀 👩‍👩‍👧 🇳🇱", "x = y ** 2  # comment\n\tif x:\n\t\treturn", "https://example.org/a?b=c&d=%20",
    "½ cup, ¼ inch, x², ②, Ⅷ, ٣٤", "<s>Hello</s>", "<s> Hello </s> again", "<|im_start|>user\nHi<|im_end|>\n",
    "<|begin_of_text|>a<|end_of_text|>b", "a<|endoftext|>b", "<unk><s></s>", "\u200b zero width", "\u00a0 no-break",
    "ALL CAPS and CamelCase and snake_case", "....!!!???", "--- *** ___", "the correct answer is answer1",
    "the correct answer is solution2</s>", "\u2581 lower block", "a\u0000b", "\U0001d49c math",
    TEMPLATE.format("Which is warm?"),
]
TRAINING_TEXT = [
    TEMPLATE.format(f"Please choose the correct {kind} to the question: what is {thing}?") + f"the correct answer is {kind}{i}"
    for kind in ("answer", "solution", "ending", "option")
    for i, thing in enumerate(("the sun", "a river", "cold water", "an old stone", "it's 1234 years ago"), 1)
]
LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def make_llama3_style(folder):
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        TRAINING_TEXT, trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
    )
    special = [AddedToken(text, special=True) for text in ("<|begin_of_text|>", "<|end_of_text|>")]
    tokenizer.add_special_tokens(special)
    begin = tokenizer.token_to_id("<|begin_of_text|>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", begin)]
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|begin_of_text|>",
        "eos_token": "<|end_of_text|>",
        "clean_up_tokenization_spaces": True,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def main(shared, out):
    shared, out, rng, picked = Path(shared), Path(out), random.Random(7), []
    make_llama3_style(out / "llama3-style")
    for name in ["commonsense_170k/train.json", "boolq/test.json", "hellaswag/test.json", "gsm8k/test.json"]:
        file = f"data_file/llm_adapt/{name}"
        rows = json.loads((shared / file).read_bytes())
        for row in sorted(rng.sample(range(len(rows)), 60)):
            picked += [(file, row, field, rows[row][field]) for field in ("instruction", "output")]
    result = []
    for name, folder in [
        ("tokenizers/smollm2-135m-instruct", shared / "tokenizers/smollm2-135m-instruct"),
        ("models/stories260K", shared / "models/stories260K"),
        ("llama3-style", out / "llama3-style"),
    ]:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

        def encode(text):
            return tokenizer.encode(text, add_special_tokens=False).ids

        def decode(ids, skip=False):
            return tokenizer.decode(ids, skip_special_tokens=skip)

        made_up = [[text, ids, decode(ids), decode(ids, True)] for text in MADE_UP for ids in [encode(text)]]
        rows = [
            [file, row, field, len(ids), digest(",".join(map(str, ids))), digest(decode(ids))]
            for file, row, field, text in picked
            for ids in [encode(text)]
        ]
        result.append({"tokenizer": name, "made_up": made_up, "rows": rows})
        print(name, len(made_up) + len(rows), "texts,", sum(len(case[1]) for case in made_up) + sum(row[3] for row in rows), "ids")
    lines = ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in result)
    (out / "reference.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
