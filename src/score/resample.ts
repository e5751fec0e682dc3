import { pythonRandom } from "../core/mersenne-twister.js";
import { z95, type Interval } from "./intervals.js";
import type { Sample } from "./scorer.js";

/** Bootstrap samples of an interval or a test. */
export const resamples = 1000;
const seed = 42;

/** The items of each bootstrap sample, drawn with replacement: `resamples` rows of so many, as Python's random.Random(42).randrange draws them. */
function* draws(items: number): Generator<Uint32Array> {
  const random = pythonRandom(seed);
  const drawn = new Uint32Array(items);
  for (let sample = 0; sample < resamples; sample++) {
    for (let i = 0; i < items; i++) drawn[i] = random.randbelow(items);
    yield drawn;
  }
}

/** A figure that is made of sums over items. */
export type SumsSample = Extract<Sample, { kind: "sums" }>;

const sumOver = ({ terms, width }: SumsSample, items: Uint32Array): Float64Array => {
  const sums = new Float64Array(width);
  for (const item of items)
    for (let k = 0, at = item * width; k < width; k++, at++)
      sums[k] = (sums[k] ?? 0) + (terms[at] ?? 0);
  return sums;
};

/** The figure over all items. */
export const valueOfSums = (sample: SumsSample): number =>
  sample.of(
    sumOver(
      sample,
      Uint32Array.from({ length: sample.terms.length / sample.width }, (_, i) => i),
    ),
  );

/** The value below which so many of the sorted ones lie, straight between neighbours. */
const quantile = (sorted: Float64Array, share: number): number => {
  const at = share * (sorted.length - 1);
  const below = Math.floor(at);
  const low = sorted[below] ?? NaN;
  const high = sorted[below + 1] ?? low;
  return low + (at - below) * (high - low);
};

const percentiles = (values: Float64Array): Interval => {
  const sorted = values.toSorted();
  return { low: quantile(sorted, 0.025), high: quantile(sorted, 0.975) };
};

/**
 * The bootstrap's 95 % intervals of figures over the same items: percentiles of the figures over `resamples` samples of the items.
 *
 * Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
 */
export const bootstrapIntervals = (samples: readonly SumsSample[]): readonly Interval[] => {
  const [first] = samples;
  if (first === undefined) return [];
  const values = samples.map(() => new Float64Array(resamples));
  let at = 0;
  for (const items of draws(first.terms.length / first.width)) {
    // Figures of the same terms, such as BLEU and its precisions, share their sums.
    const sums = new Map<Float64Array, Float64Array>();
    for (const [i, sample] of samples.entries()) {
      const known = sums.get(sample.terms) ?? sumOver(sample, items);
      sums.set(sample.terms, known);
      const list = values[i];
      if (list) list[at] = sample.of(known);
    }
    at++;
  }
  return values.map(percentiles);
};

/** The jackknife's standard error of a figure, from its values without one item each: sqrt((n - 1) / n * sum((v - mean)^2)). */
const jackknifeError = (values: Float64Array): number => {
  const n = values.length;
  const mean = values.reduce((sum, value) => sum + value, 0) / n;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return Math.sqrt(((n - 1) / n) * squares);
};

/**
 * The jackknife's 95 % interval of a share that is no sum over items, such as that of distinct words: a bootstrap sample repeats
 * items, and so has fewer of them in any case. Cut to `lowest` and 100.
 */
export const jackknifeInterval = (value: number, values: Float64Array, lowest = 0): Interval => {
  const reach = z95 * jackknifeError(values);
  return { low: Math.max(lowest, value - reach), high: Math.min(100, value + reach) };
};

/** A test of whether two runs differ on the same items. */
export interface PairedTest {
  /** `McNemar`, `bootstrap` or `jackknife`. */
  readonly name: "McNemar" | "bootstrap" | "jackknife";
  /** Two-sided. */
  readonly p: number;
  /** 95 % interval of the difference, in points. */
  readonly interval: Interval;
}

/**
 * The exact two-sided p of McNemar's test: of n items on which two runs differ, min(b, c) or fewer go one way by chance.
 *
 * min(1, 2 * sum over k <= min(b, c) of C(n, k) / 2^n)
 * Source: McNemar, Psychometrika 1947.
 */
export const mcnemarExact = (b: number, c: number): number => {
  const n = b + c;
  let logTerm = -n * Math.LN2;
  let sum = 0;
  for (let k = 0; k <= Math.min(b, c); k++) {
    sum += Math.exp(logTerm);
    logTerm += Math.log((n - k) / (k + 1));
  }
  return Math.min(1, 2 * sum);
};

/** The difference of two shares over the same items, with the interval of a mean of paired differences. */
const compareShares = (a: readonly boolean[], b: readonly boolean[]): PairedTest => {
  const n = a.length;
  let [onlyA, onlyB] = [0, 0];
  for (const [i, right] of a.entries()) {
    if (right && b[i] === false) onlyA++;
    if (!right && b[i] === true) onlyB++;
  }
  const mean = (onlyA - onlyB) / n;
  const reach = 100 * z95 * Math.sqrt(Math.max(0, (onlyA + onlyB) / n - mean ** 2) / n);
  return {
    name: "McNemar",
    p: mcnemarExact(onlyA, onlyB),
    interval: { low: 100 * mean - reach, high: 100 * mean + reach },
  };
};

/** Figures over the same bootstrap samples of items; p is twice the smaller share of samples on one side of no difference. */
const compareSums = (a: SumsSample, b: SumsSample): PairedTest => {
  const differences = new Float64Array(resamples);
  let at = 0;
  let [notAbove, notBelow] = [0, 0];
  for (const items of draws(a.terms.length / a.width)) {
    const difference = a.of(sumOver(a, items)) - b.of(sumOver(b, items));
    differences[at++] = difference;
    if (difference <= 0) notAbove++;
    if (difference >= 0) notBelow++;
  }
  // One is added to both, so that no finite number of samples says 0.
  const p = (2 * (Math.min(notAbove, notBelow) + 1)) / (resamples + 1);
  return { name: "bootstrap", p: Math.min(1, p), interval: percentiles(differences) };
};

/** erfc by its continued fraction's rational fit; the error is below 1.2e-7. Source: Press et al., Numerical Recipes, erfcc. */
const erfc = (x: number): number => {
  const t = 1 / (1 + x / 2);
  const coefficients = [
    -1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398,
    1.48851587, -0.82215223, 0.17087277,
  ];
  const exponent = coefficients.reduceRight((sum, c) => sum * t + c, 0);
  return t * Math.exp(-x * x + exponent);
};

const compareLeftOut = (a: Float64Array, b: Float64Array, difference: number): PairedTest => {
  const error = jackknifeError(a.map((value, i) => value - (b[i] ?? NaN)));
  const reach = z95 * error;
  return {
    name: "jackknife",
    p: error === 0 ? (difference === 0 ? 1 : 0) : erfc(Math.abs(difference) / error / Math.SQRT2),
    interval: { low: difference - reach, high: difference + reach },
  };
};

/** The paired test of a figure of two runs on the same items. @param difference the first run's value less the second's */
export const comparePaired = (a: Sample, b: Sample, difference: number): PairedTest => {
  if (a.kind === "share" && b.kind === "share") return compareShares(a.right, b.right);
  if (a.kind === "sums" && b.kind === "sums") return compareSums(a, b);
  if (a.kind === "leftOut" && b.kind === "leftOut")
    return compareLeftOut(a.values, b.values, difference);
  throw new TypeError("figures of two kinds have no paired test");
};
