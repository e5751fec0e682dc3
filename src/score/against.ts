import { basename } from "node:path";
import { UserError, userErrorOfFaults } from "../core/errors.js";
import { listRows } from "../core/row-names.js";
import { comparePaired, type PairedTest } from "./resample.js";
import type { ScoredFile } from "./score-files.js";

/** A figure of two runs on the same items. */
export interface ComparedFigure {
  readonly key: string;
  readonly title: string;
  readonly first: number;
  readonly second: number;
  /** first - second, in points. */
  readonly difference: number;
  readonly test: PairedTest;
}

/** Two files of answers to the same rows. */
export interface ComparedFiles {
  readonly first: ScoredFile;
  readonly second: ScoredFile;
  readonly figures: readonly ComparedFigure[];
}

const nameOf = ({ set, scorer }: ScoredFile): string => set ?? scorer;

/** The pairs of files of one set; of several, those of one name. */
const pairFiles = (
  firsts: readonly ScoredFile[],
  seconds: readonly ScoredFile[],
): {
  readonly pairs: readonly (readonly [ScoredFile, ScoredFile])[];
  readonly faults: string[];
} => {
  const faults: string[] = [];
  const pairs = firsts.flatMap((first): (readonly [ScoredFile, ScoredFile])[] => {
    const same = seconds.filter((second) => nameOf(second) === nameOf(first));
    const others = firsts.filter((other) => nameOf(other) === nameOf(first));
    const fits =
      same.length === 1 && others.length === 1
        ? same
        : same.filter(({ path }) => basename(path) === basename(first.path));
    const [second] = fits;
    if (second && fits.length === 1) return [[first, second]];
    // Sets that one side alone has answered are no fault: the others can be compared.
    if (same.length > 0)
      faults.push(
        `${first.path}: found ${String(same.length)} files of ${nameOf(first)} on the other side, expected one, or one of the same name`,
      );
    return [];
  });
  return { pairs, faults };
};

/** What keeps two files from being answers to the same rows; undefined if they are. */
const rowFault = (first: ScoredFile, second: ScoredFile): string | undefined => {
  const [a, b] = [first.answers, second.answers];
  const differing = [...a.keys()].filter(
    (i) => a[i]?.context !== b[i]?.context || a[i]?.gt !== b[i]?.gt,
  );
  if (a.length !== b.length)
    return `${first.path}: found ${String(a.length)} rows, expected the ${String(b.length)} of ${second.path}`;
  return differing.length === 0
    ? undefined
    : `${first.path}: found another context or gt in ${listRows(differing)} than ${second.path}, expected the same rows`;
};

const compareFigures = (first: ScoredFile, second: ScoredFile): readonly ComparedFigure[] =>
  first.scored.figures.flatMap((a) => {
    const b = second.scored.figures.find(({ key }) => key === a.key);
    if (a.value === undefined || b?.value === undefined) return [];
    const difference = a.value - b.value;
    return [
      {
        ...{ key: a.key, title: a.title, first: a.value, second: b.value, difference },
        test: comparePaired(a.sample, b.sample, difference),
      },
    ];
  });

/**
 * Compares two runs on the rows that both have answered: each figure's difference, its 95 % interval, and a paired test.
 *
 * @throws {UserError} where no set is answered on both sides, or the rows of a set are not the same; all of them at once
 */
export const compareAgainst = (
  firsts: readonly ScoredFile[],
  seconds: readonly ScoredFile[],
): readonly ComparedFiles[] => {
  const { pairs, faults } = pairFiles(firsts, seconds);
  const namesOf = (files: readonly ScoredFile[]): string =>
    [...new Set(files.map(nameOf))].join(", ");
  if (pairs.length === 0 && faults.length === 0)
    throw new UserError(
      `Cannot compare two runs: found answers to ${namesOf(firsts)} and to ${namesOf(seconds)}, expected one set that both have answered`,
      "Name one run, or one file, on each side",
    );
  const all = [...faults, ...pairs.flatMap(([first, second]) => rowFault(first, second) ?? [])];
  if (all.length > 0)
    throw userErrorOfFaults(
      "Cannot compare two runs",
      all,
      "Answer the same rows of the same data with both: a paired test is over pairs",
    );
  return pairs.map(([first, second]) => ({
    first,
    second,
    figures: compareFigures(first, second),
  }));
};
