/** What a model said, and what it might have said: there is at least one reference. */
export interface Pair {
  readonly prediction: string;
  readonly references: readonly string[];
}

/**
 * The highest of `score` over the references.
 *
 * @throws {RangeError} if there is none
 */
export const bestReference = (
  references: readonly string[],
  score: (reference: string) => number,
): number => {
  if (references.length === 0) throw new RangeError("found no reference, expected at least one");
  return references.reduce((best, reference) => Math.max(best, score(reference)), -Infinity);
};

/** The sum over the pairs of what each adds; every figure that is made of sums is reckoned from it. */
export const sumTerms = (terms: Iterable<ArrayLike<number>>, width: number): Float64Array => {
  const sums = new Float64Array(width);
  for (const term of terms)
    for (let k = 0; k < width; k++) sums[k] = (sums[k] ?? 0) + (term[k] ?? 0);
  return sums;
};

/** The mean; of no values it is NaN. */
export const meanOf = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;
