import { readFile } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { writeFileAtomically } from "../core/atomic-file.js";
import type { Compat } from "../core/compat.js";
import { csvLine } from "../core/csv-line.js";
import { requireNewFiles } from "../core/new-file.js";
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
 * Writes the tables of eval_commonsense.py into a folder: a `results_{set}.csv` for each set (folder_name, acc, config;
 * with a byte order mark) and `{folder}_results_all.csv` (model, the sets, avg).
 *
 * `config` is the first two lines of the file as one JSON array, where the original has Python's notation. A missing
 * set leaves its cell empty and its table unwritten; under compat `scorer` it is -1, and all tables are written.
 * Tables that are there are written again; a file of such a name that is no such table is replaced with `overwrite` alone.
 * @returns the paths of the files
 * @throws {UserError} if the folder cannot be written, or a file in it is something else
 */
export const writeScoreTables = async (
  runs: readonly RunScore[],
  folder: string,
  compat: Compat = new Set(),
  { overwrite = false }: { readonly overwrite?: boolean } = {},
): Promise<readonly string[]> => {
  const original = compat.has("scorer");
  const tables = new Map<string, string>();
  const add = (name: string, text: string): void => {
    tables.set(join(folder, name), text);
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
  const headerOf = (text: string): string => text.slice(0, text.indexOf("\n"));
  await requireNewFiles([...tables.keys()], {
    flag: "--out",
    overwrite:
      overwrite ||
      (async (path) =>
        headerOf(await readFile(path, "utf8")) === headerOf(tables.get(path) ?? "") ||
        "found a file that is no table of scores"),
  });
  for (const [path, text] of tables) await writeFileAtomically(path, text);
  return [...tables.keys()];
};
