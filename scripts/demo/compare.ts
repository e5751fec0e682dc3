import { join } from "node:path";
import { formatTable } from "../../src/cli/table.js";
import { columnsOf } from "../../src/cli/wrap-text.js";
import { answeringFlags, tuningFlags } from "./recipe.js";
import { hira, onlyRunIn, scoresOf, type Score } from "./hira.js";
import { demoFolder } from "./paths.js";
import { optionCounts, taskNames, type TaskName } from "./tasks.js";

export type Scores = Readonly<Partial<Record<TaskName, Score>>>;

/** Trains HiRA on the mixed set of `dataRoot` and answers the demo's eight sets; all files go below `workFolder`. */
export const tuneAndAnswer = async (dataRoot: string, workFolder: string): Promise<Scores> => {
  const runs = join(workFolder, "runs");
  await hira(...tuningFlags, `--data_dir=${dataRoot}`, `--output_folder=${runs}`);
  const run = await onlyRunIn(runs);
  await hira(...answeringFlags, `--ckpt=${run}`, `--data_dir=${demoFolder}`);
  return scoresOf(run);
};

/** Answers the eight sets with the model as it is. */
export const answerUntuned = async (workFolder: string): Promise<Scores> => {
  const base = join(workFolder, "base");
  await hira(
    ...answeringFlags,
    ...[`--ckpt=${demoFolder}`, `--data_dir=${demoFolder}`, `--output_folder=${base}`],
  );
  return scoresOf(base);
};

/** What guessing gets on a set, in percent. */
export const chanceOf = (task: TaskName): number => 100 / optionCounts[task];

/** The sets' accuracies, their 95 % intervals and shares of rows without an answer, side by side with what guessing gets. */
export const scoreTable = (columns: Readonly<Record<string, Scores>>): string => {
  const all = Object.values(columns);
  const cellsOf = (score: Score | undefined): readonly string[] =>
    score
      ? [
          score.accuracy.toFixed(1),
          `${score.interval.low.toFixed(1)} to ${score.interval.high.toFixed(1)}`,
          score.noAnswer.toFixed(1),
        ]
      : ["-", "-", "-"];
  const meanOf = (scores: Scores): string =>
    (
      taskNames.reduce((sum, task) => sum + (scores[task]?.accuracy ?? 0), 0) / taskNames.length
    ).toFixed(1);
  const lines = formatTable(
    [
      { heading: "set", align: "left" },
      { heading: "chance %", align: "right" },
      ...Object.keys(columns).flatMap((name) =>
        [`${name} %`, "95 % interval", "no answer %"].map(
          (heading) => ({ heading, align: "right" }) as const,
        ),
      ),
    ],
    [
      ...taskNames.map((task) => [
        task,
        chanceOf(task).toFixed(1),
        ...all.flatMap((scores) => cellsOf(scores[task])),
      ]),
      ["mean", "", ...all.flatMap((scores) => [meanOf(scores), "", ""])],
    ],
    { width: columnsOf(process.stdout, process.env) },
  );
  return lines.join("\n");
};
