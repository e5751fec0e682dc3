import { dirname, normalize, resolve } from "node:path";
import { UserError } from "../../core/errors.js";
import { writeScoreTables } from "../../score/commonsense-csv.js";
import { commonsenseNames, isCommonsenseName } from "../../score/commonsense.js";
import { describeLeftOut } from "../../score/find-runs.js";
import { groupRuns, scoreFound, type RunScore } from "../../score/score-files.js";
import { defineCommand } from "../command.js";
import { readCompat } from "../compat-option.js";
import { flags, pickFlags } from "../options.js";
import { always } from "../reads.js";
import { formatScores } from "../score-table.js";

/** The folder that holds all of the given paths; a lone folder is that folder itself. */
const commonFolder = (paths: readonly string[], files: readonly string[]): string => {
  const [only] = paths;
  if (paths.length === 1 && only !== undefined)
    return files.includes(normalize(only)) ? dirname(only) : only;
  const parts = paths.map((path) => dirname(resolve(path)).split("/"));
  const [first = [], ...others] = parts;
  const end = first.findIndex((part, i) => others.some((other) => other[i] !== part));
  return (end < 0 ? first : first.slice(0, end)).join("/") || "/";
};

const asJson = (runs: readonly RunScore[]): string =>
  JSON.stringify(
    runs.map(({ model, sets, average }) => ({
      model,
      sets: Object.fromEntries(
        commonsenseNames.flatMap((name) => {
          const file = sets[name];
          return file === undefined ? [] : [[name, { path: file.path, ...file.score }]];
        }),
      ),
      average,
    })),
    undefined,
    2,
  );

export const scoreCommand = defineCommand({
  name: "score",
  summary: "Score answers to the eight commonsense sets",
  description:
    "Reads evaluation files and prints accuracies with their 95 % intervals. A folder stands for the files named after a set in it and in the folders below it; what holds no answers is left out, and named. The first of a set's words in pred and in gt are compared, as in eval_commonsense.py; a row without one is wrong.",
  words: { name: "<file|folder>...", help: "Evaluation files, run folders, or a folder of runs" },
  flags: {
    dataset: {
      kind: "text",
      group: "Data",
      placeholder: "name",
      default: null,
      choices: commonsenseNames,
      help: "The set of files whose name does not tell it",
    },
    compat: {
      ...flags.compat,
      group: "Files and output",
      help: "scorer: as eval_commonsense.py, where no answer equals no answer and a missing set is -1",
    },
    ...pickFlags(["csv", "json", "overwrite"]),
    out: {
      ...flags.out,
      placeholder: "folder",
      help: "Folder for --csv; if not given, the scored folder, or the one that holds all of them",
    },
  },
  reads: {
    dataset: always,
    compat: always,
    csv: always,
    json: always,
    overwrite: always,
    out: always,
  },
  examples: [
    ["hira score results_hira/RUN", "the eight sets of one run, a line each"],
    ["hira score results_hira --csv", "every run below results_hira, and the original's CSV files"],
    ["hira score before_boolq.jsonl after_boolq.jsonl", "two runs side by side"],
  ],
  async run({ values, words, context, faults, throwFaults }) {
    const compat = readCompat(values.compat, faults);
    const set = isCommonsenseName(values.dataset) ? { set: values.dataset } : {};
    if (values.out !== null && !values.csv)
      faults.push({ what: "--out", found: "no --csv", expected: "one beside it" });
    if (values.overwrite && !values.csv)
      faults.push({ what: "--overwrite", found: "no --csv", expected: "one beside it" });
    throwFaults();
    if (words.length === 0)
      throw new UserError(
        "Cannot score nothing: found no file, expected evaluation files or folders of them",
        "For example: hira score results_hira",
      );
    const { ui, terminal, note } = context;
    const { scores, leftOut } = await scoreFound(words, { compat, ...set });
    if (leftOut.length > 0) ui.warn(`left out: ${describeLeftOut(leftOut)}`);
    const runs = groupRuns(scores, compat);
    if (values.json) ui.line(asJson(runs));
    else for (const line of formatScores(runs, terminal)) ui.line(line);
    if (!values.csv) return;
    const unfit = new Set(leftOut.map(({ path }) => path));
    const used = words.filter((word) => !unfit.has(normalize(word)));
    const files = scores.map(({ path }) => path);
    const folder = values.out ?? commonFolder(used, files);
    const written = await writeScoreTables(runs, folder, compat, values);
    note(`wrote ${String(written.length)} tables: ${written.join(", ")}`);
  },
});
