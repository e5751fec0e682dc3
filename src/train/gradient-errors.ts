/** How far the gradient of one parameter is from the CPU's. */
export interface GradientError {
  readonly name: string;
  /** |gradient - g| / max(|g|, smallest), in the Euclidean norm; NaN or Infinity where the gradient has such elements. */
  readonly error: number;
  /** |g|, of the CPU's gradient. */
  readonly norm: number;
  /** Whether |g| is below the smallest size that counts, so that the error is a share of that. */
  readonly isSmall: boolean;
}

/** The same with how large it may be. */
export interface BoundedError extends GradientError {
  readonly bound: number;
}

const norm = (values: Float32Array): number => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0));

const distance = (a: Float32Array, b: Float32Array): number => {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += ((a[i] ?? NaN) - (b[i] ?? NaN)) ** 2;
  return Math.sqrt(sum);
};

/**
 * The errors of gradients, in the order of `found`.
 *
 * A gradient of n elements counts as no smaller than smallest * rms * sqrt(n), where rms is the root mean square over all elements of all
 * expected gradients: below that it may be rounding alone, of which no precision is asked.
 * @param found of the device, by the parameters' names
 * @param expected of the CPU, the same names and lengths
 * @throws {RangeError} if a name or a length differs
 */
export const gradientErrors = (
  found: Iterable<readonly [name: string, gradient: Float32Array]>,
  expected: ReadonlyMap<string, Float32Array>,
  smallest: number,
): readonly GradientError[] => {
  const norms = new Map([...expected].map(([name, gradient]) => [name, norm(gradient)]));
  const count = [...expected.values()].reduce((sum, { length }) => sum + length, 0);
  const squares = [...norms.values()].reduce((sum, size) => sum + size * size, 0);
  const rms = Math.sqrt(squares / Math.max(1, count));
  return Array.from(found, ([name, gradient]) => {
    const other = expected.get(name);
    if (other?.length !== gradient.length)
      throw new RangeError(
        `Cannot compare the gradient of ${name}: found ${String(gradient.length)} elements, expected ${String(other?.length)}`,
      );
    const size = norms.get(name) ?? NaN;
    const least = smallest * rms * Math.sqrt(gradient.length);
    const difference = distance(gradient, other);
    return {
      name,
      // Where nothing has a gradient, a difference is without measure.
      error: difference === 0 ? 0 : difference / Math.max(size, least),
      norm: size,
      isSmall: size < least,
    };
  });
};

/** The largest of them beside its bound; one that is not finite is larger than all others. Undefined of none. */
export const largestError = <Error extends BoundedError>(
  errors: readonly Error[],
): Error | undefined =>
  errors.find(({ error }) => !Number.isFinite(error)) ??
  errors.reduce<Error | undefined>(
    (most, each) => (most && most.error / most.bound >= each.error / each.bound ? most : each),
    undefined,
  );

/** |found - expected| / |expected|: of losses. */
export const relativeDifference = (found: number, expected: number): number =>
  found === expected ? 0 : Math.abs(found - expected) / Math.abs(expected);
