#!/usr/bin/env python3
"""A tiny WordPiece tokenizer as BERT's, and what the tokenizers library makes of texts and pairs of texts.

usage: python wordpiece_texts.py OUT_DIR         (tokenizers, transformers)

OUT_DIR/wordpiece/ is the tokenizer's folder (lower case, accents stripped, as bert-base-uncased), wordpiece-cased/ one that keeps case
and accents, and whose template is a BertProcessing. wordpiece.json has for each of them rows [text, ids], rows
[text, pair, ids, type ids], and rows [ids, text] as decoded. Vocabularies are drawn from sentences of our own.
test/fixtures/tokenizer was made with tokenizers 0.23.3 and transformers 5.24.0.
"""
import json
import pathlib
import random
import sys

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SENTENCES = """The children walked along the river before the rain began.
Nobody had expected the old bridge to hold, but it did.
She paid 12.50 for the tickets and kept the receipt; he didn't.
Don't you think that's unbelievable?! It's well-known, isn't it.
The café's façade was naïvely repainted; the Müllers weren't amused.
A film as warm as it is honest, and never dull for a minute.
An overlong, underwritten and unfunny mess.
Unhappily, the re-election of 1984 was re-examined in 2001.
Große Straßen führen zum Bahnhof. Où est la gare, s'il vous plaît?
Мы гуляли вдоль реки. Ёлка стояла в углу.
東京へ行く。今日は良い天気です。
walking walked walks walker; hoping hoped hopes; unhoped unwalked
""".strip().split("\n")
ODD = ["", " ", "   \t\n ", "[SEP]", "a [MASK] b", "[CLS] twice [SEP]", "[sep]", "un[MASK]able", "\ufeffstart", "zero\u200bwidth", "soft\u00adhyphen",
       "tab\tand\nline", "nul\x00byte", "control\x07bell", "\ufffdreplacement", "no\u00a0break", "thin\u2009space", "line\u2028sep", "e\u0301 and é",
       "İstanbul", "ǅ titlecase", "ﬁne ligature", "ＦＵＬＬ width", "①②③", "½ cup", "1,234.5", "$5 + 5 = 10", "a^b`c~d|e", "“quotes” ‘single’",
       "dash—and–more", "emoji 😀 here", "👩‍👩‍👧 family", "漢字kana", "한국어 텍스트", "हिन्दी पाठ", "ไทย", "עברית", "x" * 99, "x" * 100, "x" * 101, "á" * 60,
       "walk" * 30, "#hash ##ed", "under_score", "C++ and C#", "…ellipsis", "§ 5", "«guillemets»", "ΣΊΣΥΦΟΣ", "ẞ", "𝒜 math", "\u0345", "a\u0327\u0301", "。、！？",
       "㐀 ext A", "𠀀 ext B", "\ue000 private", "\x85 nel", "\u180e vowel"]


def random_texts(count):
    rng = random.Random(3)
    ranges = [(32, 127)] * 6 + [(160, 592), (880, 1280), (0x3040, 0x30ff), (0x4e00, 0x4e40), (0x2000, 0x206f), (0xac00, 0xac40), (0x1f600, 0x1f640), (0x300, 0x330)]
    words = " ".join(SENTENCES).split()
    for _ in range(count):
        parts = []
        for _ in range(rng.randrange(1, 9)):
            low, high = rng.choice(ranges)
            parts.append(rng.choice(words) if rng.random() < 0.6 else "".join(chr(rng.randrange(low, high)) for _ in range(rng.randrange(1, 6))))
        yield rng.choice([" ", "", " "]).join(parts)


def build(lower):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower, strip_accents=None if lower else False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(SENTENCES, trainers.WordPieceTrainer(vocab_size=320, special_tokens=SPECIAL, show_progress=False))
    vocab = tokenizer.get_vocab()
    # The trainer breaks ties as it likes: the same file each time.
    ordered = SPECIAL + sorted(set(vocab) - set(SPECIAL))
    tokenizer.model = models.WordPiece({token: i for i, token in enumerate(ordered)}, unk_token="[UNK]")
    sep, cls = ordered.index("[SEP]"), ordered.index("[CLS]")
    if lower:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", special_tokens=[("[CLS]", cls), ("[SEP]", sep)])
    else:
        tokenizer.post_processor = processors.BertProcessing(("[SEP]", sep), ("[CLS]", cls))
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def main():
    out, texts, stored = pathlib.Path(sys.argv[1]), SENTENCES + ODD + list(random_texts(240)), {}
    for name, lower in (("wordpiece", True), ("wordpiece-cased", False)):
        tokenizer = build(lower)
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tokenizer.json").write_text(tokenizer.to_str() + "\n")
        (folder / "tokenizer_config.json").write_text(json.dumps({
            "tokenizer_class": "BertTokenizer", "do_lower_case": lower, "model_max_length": 48, "unk_token": "[UNK]",
            "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]", "mask_token": "[MASK]"}, indent=1) + "\n")
        singles = [[text, tokenizer.encode(text).ids] for text in texts]
        pairs = [[a, b, *(lambda e: (e.ids, e.type_ids))(tokenizer.encode(a, b))] for a, b in zip(texts[:60], texts[30:90])]
        decoded = [[ids, tokenizer.decode(ids, skip_special_tokens=False)] for _, ids in singles[:40]]
        stored[name] = {"single": singles, "pair": pairs, "decoded": decoded}
        print(name, tokenizer.get_vocab_size(), len(singles), sum(len(i) for _, i in singles))
    (out / "wordpiece.json").write_text(json.dumps(stored) + "\n")


if __name__ == "__main__":
    main()
