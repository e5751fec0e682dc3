/**
 * Trains a byte-level BPE tokenizer and writes it in the form of Hugging Face's tokenizer.json.
 *
 * Source: Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units", ACL 2016 (the merges); Radford et al.,
 * "Language Models are Unsupervised Multitask Learners", 2019 (bytes as printable characters).
 */

/** Text is first cut into words with their leading blank and a digit behind ("answer1"), digits, and runs of signs or of white space. */
const wordPattern = String.raw` ?\p{L}+\p{N}?|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;

export const specialTokens = ["<unk>", "<s>", "</s>", "<pad>"] as const;

/** The printable character that stands for each byte: itself where it is printable, else one from U+0100 on. */
const byteCharacters: readonly string[] = (() => {
  const isPrintable = (byte: number): boolean =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) =>
    String.fromCodePoint(isPrintable(byte) ? byte : next++),
  );
})();

const toByteCharacters = (text: string): string[] =>
  Array.from(Buffer.from(text, "utf8"), (byte) => byteCharacters[byte] ?? "");

/**
 * Learns merges until the vocabulary has `vocabularySize` entries or no pair comes twice.
 *
 * Ties go to the pair that comes first in code point order, so the result depends on the text alone.
 * @returns the contents of tokenizer.json
 */
export const trainTokenizer = (texts: Iterable<string>, vocabularySize: number): object => {
  const counts = new Map<string, number>();
  for (const text of texts)
    for (const [word] of text.matchAll(new RegExp(wordPattern, "gu")))
      counts.set(word, (counts.get(word) ?? 0) + 1);
  const words = [...counts].map(([word, count]) => ({ pieces: toByteCharacters(word), count }));

  const vocabulary: string[] = [...specialTokens, ...[...byteCharacters].sort()];
  const merges: [string, string][] = [];
  while (vocabulary.length < vocabularySize) {
    const pairs = new Map<string, number>();
    for (const { pieces, count } of words)
      for (let i = 1; i < pieces.length; i++) {
        const pair = `${pieces[i - 1] ?? ""} ${pieces[i] ?? ""}`;
        pairs.set(pair, (pairs.get(pair) ?? 0) + count);
      }
    let best: string | undefined;
    let bestCount = 1;
    for (const [pair, count] of pairs)
      if (count > bestCount || (count === bestCount && best !== undefined && pair < best))
        [best, bestCount] = [pair, count];
    if (best === undefined) break;
    const [left = "", right = ""] = best.split(" ");
    merges.push([left, right]);
    // Two ways of merging can spell the same token; it has one entry.
    if (!vocabulary.includes(left + right)) vocabulary.push(left + right);
    for (const { pieces } of words)
      for (let i = 1; i < pieces.length; i++)
        if (pieces[i - 1] === left && pieces[i] === right) pieces.splice(i - 1, 2, left + right);
  }

  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: specialTokens.map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: null,
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        { type: "Split", pattern: { Regex: wordPattern }, behavior: "Isolated", invert: false },
        { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
      ],
    },
    post_processor: null,
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(vocabulary.map((token, id) => [token, id])),
      merges,
    },
  };
};

/** The contents of tokenizer_config.json that belongs to it. */
export const tokenizerConfig = {
  add_bos_token: false,
  add_eos_token: false,
  bos_token: "<s>",
  eos_token: "</s>",
  pad_token: "<pad>",
  unk_token: "<unk>",
  clean_up_tokenization_spaces: false,
  model_max_length: 512,
  tokenizer_class: "PreTrainedTokenizerFast",
} as const;
