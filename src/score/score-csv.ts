import { readFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { writeFileAtomically } from "../core/atomic-file.js";
import type { Compat } from "../core/compat.js";
import { csvLine } from "../core/csv-line.js";
import { requireNewFiles } from "../core/new-file.js";
import { pythonRepr } from "../report/python-format.js";
import { commonsenseTables } from "./commonsense-csv.js";
import { scorers, type ScorerName } from "./registry.js";
import { commonsenseScore, groupRuns, type ScoredFile } from "./score-files.js";
import type { Scorer } from "./scorer.js";

/** The table of convai2_eval.py, which names its files in its own way. */
const convai2Table = "results.csv";

/** The table that a file of answers is a row of. */
const tableOf = ({ scorer, set }: ScoredFile): string => {
  const { table }: Scorer = scorers[scorer];
  return table ?? `results_${set ?? scorer}.csv`;
};

/** What the original calls a file: of convai2_eval.py the folder's and the file's name in one, else the path without the set's name. */
const folderName = (file: ScoredFile): string =>
  tableOf(file) === convai2Table ? basename(dirname(file.path)) + basename(file.path) : file.model;

const cell = (file: ScoredFile, key: string): string => {
  const value = file.scored.figures.find((figure) => figure.key === key)?.value;
  return value === undefined ? "" : pythonRepr(value);
};

const tableText = (scorer: ScorerName, files: readonly ScoredFile[]): string => {
  const { columns } = scorers[scorer];
  const rows = files.map((file) =>
    csvLine([
      folderName(file),
      ...columns.map((key) => cell(file, key)),
      JSON.stringify(file.header),
    ]),
  );
  return `\ufeff${csvLine(["folder_name", ...columns, "config"])}${rows.join("")}`;
};

/** The tables of all files but those of the commonsense sets, by their names. */
const otherTables = (files: readonly ScoredFile[]): ReadonlyMap<string, string> => {
  const byTable = new Map<string, ScoredFile[]>();
  for (const file of files) {
    const name = tableOf(file);
    byTable.set(name, [...(byTable.get(name) ?? []), file]);
  }
  const tables = new Map<string, string>();
  for (const [name, members] of byTable) {
    const [first] = members;
    if (first) tables.set(name, tableText(first.scorer, members));
  }
  const solved = files.filter(({ scorer }) => scorer === "math");
  if (solved.length > 0) {
    const rows = solved.map((file) => csvLine([folderName(file), cell(file, "new acc")]));
    tables.set("results_all.csv", [csvLine(["model", "gsm8k"]), ...rows].join(""));
  }
  return tables;
};

/**
 * Writes the original's tables into a folder: those of eval_commonsense.py, `results.csv` of convai2_eval.py, `results_gsm8k.csv` and
 * `results_all.csv` of metamath_eval.py, and for sets that it has no scorer for `results_{set}.csv` in the same form.
 *
 * A figure that was not computed leaves its cell empty. Tables that are there are written again; a file of such a name that is no
 * such table is replaced with `overwrite` alone.
 * @returns the paths of the files
 * @throws {UserError} if the folder cannot be written, or a file in it is something else
 */
export const writeScoreTables = async (
  files: readonly ScoredFile[],
  folder: string,
  compat: Compat = new Set(),
  { overwrite = false }: { readonly overwrite?: boolean } = {},
): Promise<readonly string[]> => {
  const scores = files.flatMap((file) => commonsenseScore(file, compat) ?? []);
  const others = files.filter((file) => commonsenseScore(file) === undefined);
  const byName = new Map([
    ...(scores.length > 0 ? commonsenseTables(groupRuns(scores, compat), folder, compat) : []),
    ...otherTables(others),
  ]);
  const tables = new Map([...byName].map(([name, text]) => [join(folder, name), text]));
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
