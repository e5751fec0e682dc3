/** How often each run of `n` tokens occurs. Tokens hold no space, so that a space joins them to a key. */
export const countNgrams = (tokens: readonly string[], n: number): Map<string, number> => {
  const counts = new Map<string, number>();
  for (let i = 0; i + n <= tokens.length; i++) {
    const ngram = n === 1 ? (tokens[i] ?? "") : tokens.slice(i, i + n).join(" ");
    counts.set(ngram, (counts.get(ngram) ?? 0) + 1);
  }
  return counts;
};

/** The size of two multisets' intersection. */
export const countCommon = (
  a: ReadonlyMap<string, number>,
  b: ReadonlyMap<string, number>,
): number => {
  let common = 0;
  for (const [item, count] of a) common += Math.min(count, b.get(item) ?? 0);
  return common;
};

/** The harmonic mean of precision and recall; 0 where both are 0. */
export const fMeasure = (precision: number, recall: number): number =>
  precision + recall > 0 ? (2 * precision * recall) / (precision + recall) : 0;
