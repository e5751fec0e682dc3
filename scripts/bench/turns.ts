/** Two contenders that take turns, and what their times come to: no process, no clock. */
import { median } from "../../src/core/median.js";

/** One measurement of a contender. */
export interface Sample {
  readonly milliseconds: number;
  /** Cores that other programs used meanwhile. */
  readonly othersCores: number;
}

/** Cores taken by others from which on a sample counts as disturbed. */
export const disturbedFrom = 0.15;

const isQuiet = ({ othersCores }: Sample): boolean => othersCores < disturbedFrom;

/** What two contenders come to. */
export interface PairResult {
  /** Median of `ratios`. */
  readonly ratio: number;
  /** The second's time over the first's, of neighbours: [least, largest]. */
  readonly spread: readonly [number, number];
  /** Medians, in milliseconds. */
  readonly firstMs: number;
  readonly secondMs: number;
  readonly pairs: number;
  /** Of these pairs, those during which other programs used a processor. */
  readonly disturbed: number;
  /** Pairs that were left out because they were disturbed and quiet ones were had. */
  readonly leftOut: number;
}

/** A sample of the second between two of the first. */
export interface Pair {
  readonly before: Sample;
  readonly second: Sample;
  readonly after: Sample;
}

/** The second's time over the mean of its neighbours. */
export const ratioOf = ({ before, second, after }: Pair): number =>
  (2 * second.milliseconds) / (before.milliseconds + after.milliseconds);

const isQuietPair = ({ before, second, after }: Pair): boolean =>
  isQuiet(before) && isQuiet(second) && isQuiet(after);

/**
 * Measures first, second, first, second, ..., first, until there are `rounds` quiet pairs, but at most `repeats` more than that.
 *
 * The drift of a machine meets both alike. The quiet pairs count, or all where there are fewer than two.
 */
export const takeTurns = async (
  first: () => Promise<Sample>,
  second: () => Promise<Sample>,
  { rounds, repeats = rounds }: { readonly rounds: number; readonly repeats?: number },
): Promise<PairResult> => {
  const pairs: Pair[] = [];
  let before = await first();
  while (pairs.length < rounds + repeats && pairs.filter(isQuietPair).length < rounds) {
    const measured = await second();
    const after = await first();
    pairs.push({ before, second: measured, after });
    before = after;
  }
  return summarizePairs(pairs);
};

/** See takeTurns. */
export const summarizePairs = (pairs: readonly Pair[]): PairResult => {
  const quiet = pairs.filter(isQuietPair);
  const used = quiet.length >= Math.min(2, pairs.length) ? quiet : pairs;
  const ratios = used.map(ratioOf);
  return {
    ratio: median(ratios),
    spread: [Math.min(...ratios), Math.max(...ratios)],
    firstMs: median(used.flatMap(({ before, after }) => [before.milliseconds, after.milliseconds])),
    secondMs: median(used.map(({ second }) => second.milliseconds)),
    pairs: used.length,
    disturbed: used.length - used.filter(isQuietPair).length,
    leftOut: pairs.length - used.length,
  };
};
