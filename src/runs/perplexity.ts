/** What a text is divided by. */
export interface TextCounts {
  /** Runs of characters between white space. */
  readonly words: number;
  /** Line ends, which WikiText's figures count as a word <eos> each. */
  readonly lines: number;
  /** Of UTF-8. */
  readonly bytes: number;
}

/** How well a model predicts a text. Logarithms are natural. */
export interface Perplexities {
  /** Sum of -log p over the predicted tokens. */
  readonly negativeLogLikelihood: number;
  /** Tokens that are predicted; a first one without any before it is not. */
  readonly tokens: number;
  /** exp(sum / tokens): of two models comparable only where they share a tokenizer. */
  readonly tokenPerplexity: number;
  /** The figures below are of whole texts alone. */
  readonly counts: TextCounts | null;
  /** exp(sum / words): comparable between tokenizers. */
  readonly wordPerplexity: number | null;
  /** exp(sum / (words + lines)), as WikiText's tables count. */
  readonly wordAndLinePerplexity: number | null;
  /** sum / log 2 / bytes. */
  readonly bitsPerByte: number | null;
}

/** Counts words, lines and bytes of texts. */
export const textCounts = (texts: readonly string[]): TextCounts => {
  let [words, lines, bytes] = [0, 0, 0];
  for (const text of texts) {
    words += text.match(/\S+/gu)?.length ?? 0;
    lines += text.match(/\n/g)?.length ?? 0;
    bytes += Buffer.byteLength(text);
  }
  return { words, lines, bytes };
};

/**
 * The figures of a sum of -log p.
 *
 * Words and bytes are those of the text, whatever its tokens are, so that the likelihood of the whole text is spread over them; see
 * word_perplexity and bits_per_byte of lm-evaluation-harness.
 */
export const perplexitiesOf = (
  { sum, tokens }: { readonly sum: number; readonly tokens: number },
  counts: TextCounts | undefined,
): Perplexities => ({
  negativeLogLikelihood: sum,
  tokens,
  tokenPerplexity: Math.exp(sum / tokens),
  counts: counts ?? null,
  wordPerplexity: counts && counts.words > 0 ? Math.exp(sum / counts.words) : null,
  wordAndLinePerplexity:
    counts && counts.words + counts.lines > 0
      ? Math.exp(sum / (counts.words + counts.lines))
      : null,
  bitsPerByte: counts && counts.bytes > 0 ? sum / Math.LN2 / counts.bytes : null,
});
