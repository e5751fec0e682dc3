import { basename, join } from "node:path";
import { UserError } from "../core/errors.js";
import { shellLine } from "../core/shell-line.js";
import { hasAnswers } from "../datasets/registry.js";
import { isTextSetName } from "../datasets/wikitext.js";
import type { Adapter } from "../peft/adapter.js";
import { isCommonsenseName, scoreRows, type SetScore } from "../score/commonsense.js";
import { figuresInLine, mainFiguresOf } from "../score/main-figures.js";
import type { Answer } from "../score/scorer.js";
import { isScoredSet, scorerNameOf } from "../score/sets.js";
import type { TrainingResult } from "../train/train-adapter.js";
import { checkpointName } from "../train/trainer-state.js";
import type { TrainingRunOptions } from "./training-run-options.js";

/** A run that has ended, as far as its last lines speak of it. */
export interface EndedRun {
  readonly runFolder: string;
  readonly result: TrainingResult;
  readonly adapter: Pick<Adapter, "method">;
  readonly options: Pick<
    TrainingRunOptions,
    "dataset" | "datasetFile" | "dataDir" | "batch" | "useInput" | "compat" | "metricForBest"
  >;
  /** The names of the classes, where rows with classes were learnt. */
  readonly labels?: readonly string[] | undefined;
  /** The answers to the test rows. */
  readonly rows: readonly Answer[];
}

const resultLine = ({ result, options }: EndedRun): string => {
  const { best } = result.evaluations;
  if (best)
    return `Best validation ${options.metricForBest ?? "loss"} ${best.metric.toFixed(4)} at step ${String(best.step)} of ${String(result.totalSteps)} (${checkpointName(best.step)})`;
  return result.totalSteps === 0
    ? "Nothing was trained: these are the answers of the model as it stands"
    : `Without a validation loss the last weights count (${checkpointName(result.steps)})`;
};

const scoreLine = (name: string, score: SetScore): string => {
  const { right, rows, accuracy, interval, noAnswer } = score;
  const range = `${interval.low.toFixed(2)} – ${interval.high.toFixed(2)}`;
  const silent = Math.round((noAnswer / 100) * rows);
  return `${name}: ${accuracy.toFixed(2)} % right, ${String(right)} of ${String(rows)} rows (95 % interval ${range})${silent > 0 ? `, ${String(silent)} without an answer` : ""}`;
};

/** What to type next, with what each line does. */
const nextCommands = ({
  runFolder,
  adapter,
  options,
  labels,
  rows,
}: EndedRun): readonly (readonly [line: string, does: string])[] => {
  const { dataset, datasetFile, dataDir, batch } = options;
  const evaluation = [
    ...["hira", `--ckpt=${runFolder}`, "--dataset=common_all", `--batch=${String(batch)}`],
    "--beam_size=4",
    ...(dataDir === undefined ? [] : [`--data_dir=${dataDir}`]),
    ...(options.useInput ? ["--use_input"] : []),
  ];
  const perplexity = [
    ...["hira", "perplexity", `--ckpt=${runFolder}`, `--dataset=${dataset}`],
    ...(dataDir === undefined ? [] : [`--data_dir=${dataDir}`]),
  ];
  const ownFile = join(runFolder, "output.jsonl");
  const scored = dataset === "common_170k" ? runFolder : ownFile;
  return [
    ...(dataset === "common_170k" && datasetFile === undefined
      ? [[shellLine(evaluation), "answer the eight sets"] as const]
      : []),
    ...(hasAnswers(dataset) || (labels && rows.length > 0)
      ? [[shellLine(["hira", "score", scored]), "score the answers"] as const]
      : []),
    ...(isTextSetName(dataset) ? [[shellLine(perplexity), "measure the test text"] as const] : []),
    ...(adapter.method.kind === "linear"
      ? [
          [
            shellLine(["hira", "merge", `--ckpt=${runFolder}`, `--out=${runFolder}-merged`]),
            "make a plain model of it",
          ] as const,
        ]
      : []),
  ];
};

/** The figures of the rows in a line, or why there is no score. */
const figuresLine = async ({ options, labels, rows }: EndedRun): Promise<readonly string[]> => {
  const { dataset, datasetFile, compat, dataDir } = options;
  const set = datasetFile === undefined && isScoredSet(dataset) ? dataset : undefined;
  const scorer = labels ? "classification" : set && scorerNameOf(set);
  if (scorer === undefined || rows.length === 0) return [];
  const name = datasetFile === undefined ? dataset : basename(datasetFile);
  try {
    const figures = await mainFiguresOf(scorer, rows, { set, compat, dataDir });
    return figures.length === 0 ? [] : [figuresInLine(name, figures, rows.length)];
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return [`${name}: not scored: ${error.message}`];
  }
};

/** The last lines of a run: where it is, how good it is, and what to type next. */
export const trainingSummary = async (run: EndedRun): Promise<readonly string[]> => {
  const { runFolder, options, rows } = run;
  const { dataset, datasetFile, compat } = options;
  const isScored = datasetFile === undefined && isCommonsenseName(dataset) && rows.length > 0;
  const commands = nextCommands(run);
  return [
    `Finished: ${runFolder}`,
    resultLine(run),
    ...(isScored ? [scoreLine(dataset, scoreRows(dataset, rows, compat))] : await figuresLine(run)),
    ...(commands.length > 0 ? ["Next:"] : []),
    // The remark is one for the shell, too: a line is copied whole.
    ...commands.map(([line, does]) => `  ${line}  # ${does}`),
  ];
};
