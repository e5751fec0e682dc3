import { basename, resolve } from "node:path";
import type { Compat } from "../core/compat.js";
import { csvLine } from "../core/csv-line.js";
import { pythonRepr } from "../report/python-format.js";
import type { CommonsenseName } from "./commonsense.js";
import type { RunScore } from "./score-files.js";

/** The order of eval_commonsense.py's columns, which is not the paper's. */
const columns = [
  "boolq",
  "piqa",
  "siqa",
  "arcc",
  "arce",
  "obqa",
  "hellas",
  "winog",
] as const satisfies readonly CommonsenseName[];

/**
 * The tables of eval_commonsense.py by their names: a `results_{set}.csv` for each set (folder_name, acc, config;
 * with a byte order mark) and `{folder}_results_all.csv` (model, the sets, avg).
 *
 * `config` is the first two lines of the file as one JSON array, where the original has Python's notation. A missing
 * set leaves its cell empty and its table unwritten; under compat `scorer` it is -1, and all tables are written.
 */
export const commonsenseTables = (
  runs: readonly RunScore[],
  folder: string,
  compat: Compat = new Set(),
): ReadonlyMap<string, string> => {
  const original = compat.has("scorer");
  const tables = new Map<string, string>();
  const add = (name: string, text: string): void => {
    tables.set(name, text);
  };
  for (const set of columns) {
    const lines = runs.flatMap(({ model, sets }) => {
      const file = sets[set];
      if (file === undefined) return [];
      return [csvLine([model, pythonRepr(file.score.accuracy), JSON.stringify(file.header)])];
    });
    if (lines.length === 0 && !original) continue;
    const header = csvLine(["folder_name", "acc", "config"]);
    add(`results_${set}.csv`, `\ufeff${header}${lines.join("")}`);
  }
  const rows = runs.map(({ model, sets, average }) =>
    csvLine([
      model,
      ...columns.map((set) => {
        const file = sets[set];
        if (file === undefined) return original ? "-1" : "";
        return pythonRepr(file.score.accuracy);
      }),
      pythonRepr(average.accuracy),
    ]),
  );
  const all = [csvLine(["model", ...columns, "avg"]), ...rows].join("");
  add(`${basename(resolve(folder))}_results_all.csv`, all);
  return tables;
};
