import { copyFile, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { answeringFlags, tuningFlags } from "./recipe.js";
import { hira, onlyRunIn, scoresOf, type Score } from "./hira.js";
import { demoFolder, modelFiles } from "./paths.js";
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

/** Answers the eight sets with the model as it is; answers are written beside it, so in a copy. */
export const answerUntuned = async (workFolder: string): Promise<Scores> => {
  const copy = join(workFolder, "base");
  await mkdir(copy, { recursive: true });
  for (const file of modelFiles) await copyFile(join(demoFolder, file), join(copy, file));
  await hira(...answeringFlags, `--ckpt=${copy}`, `--data_dir=${demoFolder}`);
  return scoresOf(copy);
};

/** What guessing gets on a set, in percent. */
export const chanceOf = (task: TaskName): number => 100 / optionCounts[task];

/** The sets' accuracies side by side with what guessing gets, one line a set. */
export const scoreTable = (columns: Readonly<Record<string, Scores>>): string => {
  const percent = (value: number): string => value.toFixed(1).padStart(5);
  const cellOf = (score: Score | undefined): string =>
    score
      ? `${percent(score.accuracy)} [${percent(score.interval.low)}, ${percent(score.interval.high)}]${percent(score.noAnswer)}`
      : "-";
  const width = 26;
  const heads = Object.keys(columns);
  const mean = (scores: Scores): string =>
    percent(
      taskNames.reduce((sum, task) => sum + (scores[task]?.accuracy ?? 0), 0) / taskNames.length,
    );
  return [
    `${"set".padEnd(8)}${"chance".padEnd(9)}${heads.map((head) => head.padEnd(width)).join("")}`,
    ...taskNames.map(
      (task) =>
        `${task.padEnd(8)}${percent(chanceOf(task)).padEnd(9)}${Object.values(columns)
          .map((scores) => cellOf(scores[task]).padEnd(width))
          .join("")}`,
    ),
    `${"mean".padEnd(17)}${Object.values(columns)
      .map((scores) => mean(scores).padEnd(width))
      .join("")}`,
    "accuracy in percent [its 95 % interval], then the share of rows without a valid answer",
  ].join("\n");
};
