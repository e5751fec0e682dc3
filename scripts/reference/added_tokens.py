"""Stores what the `tokenizers` library (Python) makes of added tokens with every flag, and of text at the edges of Unicode.

usage: python added_tokens.py OUT.json [TEXTS_A_TOKENIZER [SEED]]
OUT.json: one object a tokenizer, {name, tokenizer: tokenizer.json without its added tokens, turns: [{added_tokens: those of tokenizer.json,
texts: [[text, ids, decoded, decoded without special tokens]], ids: [[ids, decoded, decoded without special tokens]]}]}. Texts are drawn from FRAGMENTS and the added tokens; the ids of the second list are
drawn from the vocabulary, so that they are no texts at times (bytes that are no UTF-8, ids that nobody has).
Seen with tokenizers 0.23.3. test/tokenizer/added-tokens.test.ts reads the file.
"""
import json
import random
import sys
from itertools import product

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
FRAGMENTS = [
    "food", "foo", "Foo", "FOO", "fooo", "a", "b", "xyz", "barfoo", "1", "42", "_", "-", ".", ",", "!", "'s", "ß", "é", "e\u0301", "ñ", "日本", "語",
    "😀", "👩\u200d👧", " ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", "\u00a0", "\u0085", "\ufeff", "\u200b", "\u200c", "\u200d", "\u2028", "\u3000",
    "\u1680", "\u180e", "\u2581", "\u2581\u2581", "\u0301", "\u0903", "²", "½", "Ⅷ", "٣", "\u2040", "K", "ſ", "ﬁ", "İ", "<s>", "</s>", "<0x41>", "\u0000", "\U0001d49c",
]
# Contents that begin, end or lie inside one another, that are words and not, that white space ends, and beyond ASCII.
CONTENTS = [
    "foo", "oo", "food truck", "<|im_start|>", "<|im_end|>", "Bar", " lead", "trail ", "é", "日本", "ü-Token", "\ufeffx", "_u_", "42", "\u2581low", "<tab>\t",
]
SPECIAL = ["<s>", "</s>"]


def byte_level(pattern, add_prefix_space=False, ignore_merges=False):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = [("f", "o"), ("fo", "o"), ("foo", "d"), ("Ġ", "f"), ("Ġ", "a"), ("b", "a"), ("ba", "r"), ("Ã", "©"), ("4", "2"), ("Ġ", "Ġ"), ("o", "o"), ("e", "n")]
    vocab = {token: i for i, token in enumerate(dict.fromkeys(alphabet + [a + b for a, b in pairs]))}
    tokenizer = Tokenizer(models.BPE(vocab, pairs, ignore_merges=ignore_merges))
    if pattern is None:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    else:
        split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def sentence_piece(form):
    """Byte fallback as in Llama 2; `form` says how a space becomes a lower block."""
    letters = list("▁abcdefghijklmnopqrstuvwxyzFOKB0123456789_-.,!éßñ<>/|")
    pairs = [("f", "o"), ("fo", "o"), ("foo", "d"), ("▁", "f"), ("▁", "a"), ("▁f", "oo"), ("▁", "▁"), ("▁▁", "▁▁"), ("4", "2"), ("o", "o"), ("b", "a")]
    words = ["<unk>", *SPECIAL, *(f"<0x{i:02X}>" for i in range(256)), *letters, *(a + b for a, b in pairs)]
    vocab = {token: i for i, token in enumerate(dict.fromkeys(words))}
    tokenizer = Tokenizer(models.BPE(vocab, pairs, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    strip = decoders.Strip(content=" ", left=1)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), strip])
    if form == "normalizer":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=form, split=False)
        if form != "first":
            tokenizer.decoder = decoders.Metaspace(prepend_scheme=form, split=False)
    return tokenizer


def with_normalizer(tokenizer, normalizer):
    tokenizer.normalizer = normalizer
    return tokenizer


MAKERS = {
    "llama3": lambda: byte_level(LLAMA3_PATTERN),
    "llama3-ignore-merges": lambda: byte_level(LLAMA3_PATTERN, ignore_merges=True),
    "gpt2": lambda: byte_level(None),
    "gpt2-prefix": lambda: byte_level(None, add_prefix_space=True),
    "gpt2-lowercase": lambda: with_normalizer(byte_level(None), normalizers.Lowercase()),
    "gpt2-nfc": lambda: with_normalizer(byte_level(None), normalizers.NFC()),
    "llama3-nfkc": lambda: with_normalizer(byte_level(LLAMA3_PATTERN), normalizers.NFKC()),
    "llama2": lambda: sentence_piece("normalizer"),
    "metaspace-first": lambda: sentence_piece("first"),
    "metaspace-always": lambda: sentence_piece("always"),
    "metaspace-never": lambda: sentence_piece("never"),
}


def main(path, texts=12, seed=7):
    rng, result = random.Random(seed), []
    flags = list(product([False, True], repeat=4))
    for name, make in MAKERS.items():
        turns = []
        for turn in range(4):
            tokenizer = make()
            # Bare tokens in the first turn, then every flag with every content in turn, and at random.
            added = []
            for i, content in enumerate(CONTENTS):
                single_word, lstrip, rstrip, normalized = (False,) * 4 if turn == 0 else flags[(i * 5 + turn * 7) % 16] if turn < 3 else rng.choice(flags)
                if turn == 2 and i % 3 == 0:
                    single_word = True
                added.append(AddedToken(content, single_word=single_word, lstrip=lstrip, rstrip=rstrip, normalized=normalized))
            tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=turn == 3, lstrip=turn == 1, rstrip=turn == 2) for text in SPECIAL])
            tokenizer.add_tokens(added[: 10 + 2 * turn])
            contents = [token.content for token in added[: 10 + 2 * turn]] + SPECIAL

            def decode(ids, skip=False):
                return tokenizer.decode(ids, skip_special_tokens=skip)

            made, drawn = [], []
            fixed = ["food", "foo", "a foo b", "foo foo", "\ufefffoo\ufeff", "x  foo  y", "éfoo", "_foo", "foo\u0301"] if turn == 1 else []
            for i in range(texts):
                pieces = [rng.choice(contents if rng.random() < 0.4 else FRAGMENTS) for _ in range(rng.randint(1, 7))]
                text = fixed[i] if i < len(fixed) else "".join(pieces)
                ids = tokenizer.encode(text, add_special_tokens=False).ids
                made.append([text, ids, decode(ids), decode(ids, True)])
            for _ in range(texts // 3):
                ids = [rng.randrange(tokenizer.get_vocab_size() + 2) for _ in range(rng.randint(1, 8))]
                drawn.append([ids, decode(ids), decode(ids, True)])
            written = json.loads(tokenizer.to_str())
            turns.append({"added_tokens": written.pop("added_tokens"), "texts": made, "ids": drawn})
        result.append({"name": name, "tokenizer": written, "turns": turns})
    lines = ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in result)
    with open(path, "w") as file:
        file.write(f"[\n{lines}\n]\n")
    print(len(result), "tokenizers,", sum(len(turn["texts"]) for entry in result for turn in entry["turns"]), "texts")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
