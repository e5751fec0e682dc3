import { dirname, normalize, resolve } from "node:path";
import { UserError } from "../../core/errors.js";
import type { OpenTextEncoder } from "../../runs/text-encoder.js";
import { compareAgainst } from "../../score/against.js";
import { describeLeftOut } from "../../score/find-runs.js";
import { isScorerName, scorerNames } from "../../score/registry.js";
import { writeScoreTables } from "../../score/score-csv.js";
import {
  commonsenseScore,
  groupRuns,
  scoreFound,
  type ScoredFile,
  type ScoreRequest,
} from "../../score/score-files.js";
import type { ProgressUi } from "../../report/progress.js";
import { isScoredSet, scoredSets } from "../../score/sets.js";
import { defineCommand } from "../command.js";
import { readCompat } from "../compat-option.js";
import { formatAgainst, formatFigures } from "../figure-table.js";
import { flags, pickFlags } from "../options.js";
import { always, onlyWith } from "../reads.js";
import { againstJson, scoresJson } from "../score-json.js";
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

/** Where --csv writes, if --out does not say: the scored folder, or the one that holds all of them. */
const tableFolder = (
  words: readonly string[],
  leftOut: readonly { readonly path: string }[],
  files: readonly ScoredFile[],
): string => {
  const unfit = new Set(leftOut.map(({ path }) => path));
  return commonFolder(
    words.filter((word) => !unfit.has(normalize(word))),
    files.map(({ path }) => path),
  );
};

/** What runs a model is loaded where it is asked for: a table of scores should not wait for it. */
const openEncoder = async (
  name: string,
  layer: number | undefined,
  ui: ProgressUi,
): Promise<OpenTextEncoder> => {
  const { openTextEncoder } = await import("../../runs/text-encoder.js");
  return openTextEncoder(name, { layer }, ui);
};

/** `hira score`: figures of answers that are written already. */
export const scoreCommand = defineCommand({
  name: "score",
  summary: "Score answers to every set, with intervals and paired tests",
  description:
    "Reads evaluation files and prints figures with their 95 % intervals. A folder stands for the files named after a set in it and in the folders below it, or for its output.jsonl; what holds no answers is left out, and named. Each set has its scorer: eval_commonsense.py, convai2_eval.py and metamath_eval.py for those of the original, letters for mmlu, ROUGE for samsum, E2E's measures for e2e.",
  words: { name: "<file|folder>...", help: "Evaluation files, run folders, or a folder of runs" },
  flags: {
    dataset: {
      kind: "text",
      group: "Data",
      placeholder: "name",
      default: null,
      choices: scoredSets,
      help: "The set of files whose name does not tell it",
    },
    metric: {
      ours: true,
      kind: "text",
      group: "Data",
      placeholder: "name",
      default: null,
      choices: scorerNames,
      help: "The scorer, in place of the set's own",
    },
    against: {
      ours: true,
      kind: "text",
      group: "Data",
      placeholder: "file|folder",
      default: null,
      help: "Another run that has answered the same rows: differences with a paired test of each figure",
    },
    wordnet: {
      ours: true,
      kind: "text",
      group: "Data",
      placeholder: "folder",
      default: null,
      help: "WordNet 3.0's dictionary files, for METEOR's synonyms; without it METEOR matches words and stems",
    },
    bert_model: {
      ours: true,
      kind: "text",
      group: "Data",
      placeholder: "folder|name",
      default: null,
      help: "Encoder for BERTScore, such as BERT: a folder or a name on the Hub; without it BERTScore is not computed",
    },
    bert_layer: {
      ours: true,
      kind: "integer",
      group: "Data",
      default: null,
      min: 0,
      help: "Layer whose hidden states BERTScore compares; if not given, bert-score's for a model of this name, else the last",
    },
    ...pickFlags(["data_dir"]),
    compat: {
      ...flags.compat,
      group: "Files and output",
      help: "scorer: as the original's scorers, where no answer equals no answer, a missing set is -1 and 1,234,567 is 1234",
    },
    ...pickFlags(["csv", "json", "overwrite"]),
    csv: { ...flags.csv, help: "Write the tables of the original's scorers too" },
    out: {
      ...flags.out,
      placeholder: "folder",
      help: "Folder for --csv; if not given, the scored folder, or the one that holds all of them",
    },
  },
  reads: {
    dataset: always,
    metric: always,
    against: always,
    wordnet: always,
    bert_model: always,
    bert_layer: [onlyWith<"bert_model", string | null>("bert_model", (name) => name !== null)],
    data_dir: always,
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
    ["hira score RUN1 --against=RUN2", "what two runs differ in, with a paired test"],
    [
      "hira score answers.jsonl --metric=convai2",
      "BLEU, METEOR, ROUGE, F1 and the rest of any text",
    ],
  ],
  async run({ values, words, context, faults, throwFaults }) {
    const compat = readCompat(values.compat, faults);
    const wanted: ScoreRequest = {
      set: isScoredSet(values.dataset) ? values.dataset : undefined,
      metric: isScorerName(values.metric) ? values.metric : undefined,
      compat,
      dataDir: values.data_dir ?? undefined,
      wordnet: values.wordnet ?? undefined,
    };
    for (const name of ["out", "overwrite"] as const)
      if (values[name] && !values.csv)
        faults.push({ what: `--${name}`, found: "no --csv", expected: "one beside it" });
    if (values.csv && values.against !== null)
      faults.push({ what: "--csv", found: "--against beside it", expected: "one of them" });
    throwFaults();
    if (words.length === 0)
      throw new UserError(
        "Cannot score nothing: found no file, expected evaluation files or folders of them",
        "For example: hira score results_hira",
      );
    const { ui, terminal, note } = context;
    const encoder =
      values.bert_model === null
        ? undefined
        : await openEncoder(values.bert_model, values.bert_layer ?? undefined, ui);
    const request: ScoreRequest = { ...wanted, encoder };
    const scoreWords = async (paths: readonly string[]) => {
      const found = await scoreFound(paths, request);
      if (found.leftOut.length > 0) ui.warn(`left out: ${describeLeftOut(found.leftOut)}`);
      return found;
    };
    const { found, other } = await (async () => {
      try {
        return {
          found: await scoreWords(words),
          other: values.against === null ? undefined : await scoreWords([values.against]),
        };
      } finally {
        encoder?.dispose();
      }
    })();
    const { files, leftOut } = found;
    if (other) {
      const compared = compareAgainst(files, other.files);
      if (values.json) ui.line(againstJson(compared));
      else for (const line of formatAgainst(compared, terminal)) ui.line(line);
      return;
    }
    const runs = groupRuns(
      files.flatMap((file) => commonsenseScore(file, compat) ?? []),
      compat,
    );
    const others = files.filter((file) => commonsenseScore(file) === undefined);
    if (values.json) ui.line(scoresJson(runs, others));
    else {
      const blocks = [
        ...(runs.length > 0 ? [formatScores(runs, terminal)] : []),
        ...(others.length > 0 ? [formatFigures(others, terminal)] : []),
      ];
      for (const line of blocks.flatMap((block, i) => (i === 0 ? block : ["", ...block])))
        ui.line(line);
      for (const { path, scored, scorer } of files)
        if (scorer === "commonsense")
          for (const remark of scored.remarks) ui.warn(`${path}: ${remark}`);
    }
    if (!values.csv) return;
    const folder = values.out ?? tableFolder(words, leftOut, files);
    const written = await writeScoreTables(files, folder, compat, values);
    note(`wrote ${String(written.length)} tables: ${written.join(", ")}`);
  },
});
