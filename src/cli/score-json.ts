import type { ComparedFiles } from "../score/against.js";
import { commonsenseNames } from "../score/commonsense.js";
import type { RunScore, ScoredFile } from "../score/score-files.js";

const runJson = ({ model, sets, average }: RunScore) => ({
  model,
  sets: Object.fromEntries(
    commonsenseNames.flatMap((name) => {
      const file = sets[name];
      return file === undefined ? [] : [[name, { path: file.path, ...file.score }]];
    }),
  ),
  average,
});

const fileJson = ({ path, model, set, scorer, scored }: ScoredFile) => {
  const { rows, items, figures, counts, groups, remarks } = scored;
  return {
    model,
    path,
    set: set ?? null,
    scorer,
    rows,
    items,
    /** By the names of the original's CSV; null for what was not computed. */
    figures: Object.fromEntries(figures.map(({ key, value }) => [key, value ?? null])),
    intervals: Object.fromEntries(
      figures.flatMap((figure) =>
        figure.value === undefined ? [] : [[figure.key, figure.interval]],
      ),
    ),
    not_computed: Object.fromEntries(
      figures.flatMap((figure) =>
        figure.value === undefined ? [[figure.key, figure.missing]] : [],
      ),
    ),
    counts,
    groups,
    remarks,
  };
};

/** All numbers for programs: an entry a run of the commonsense sets, and an entry a file of the others. */
export const scoresJson = (runs: readonly RunScore[], files: readonly ScoredFile[]): string =>
  JSON.stringify([...runs.map(runJson), ...files.map(fileJson)], undefined, 2);

/** A comparison of two runs for programs. */
export const againstJson = (compared: readonly ComparedFiles[]): string =>
  JSON.stringify(
    compared.map(({ first, second, figures }) => ({
      set: first.set ?? null,
      scorer: first.scorer,
      first: first.path,
      second: second.path,
      rows: first.scored.rows,
      items: first.scored.items,
      figures: Object.fromEntries(
        figures.map(({ key, first: a, second: b, difference, test }) => [
          key,
          {
            ...{ first: a, second: b, difference, interval: test.interval },
            ...{ test: test.name, p: test.p },
          },
        ]),
      ),
    })),
    undefined,
    2,
  );
