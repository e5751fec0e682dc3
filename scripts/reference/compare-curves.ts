/**
 * Lays the losses of a `hira train` run beside those of scripts/reference/train_peer.py.
 *
 * usage: npx tsx scripts/reference/compare-curves.ts OUR_RUN_FOLDER THEIR_OUT_FOLDER [TOLERANCE]
 *
 * Exit code 1 if an evaluation differs by more than TOLERANCE (relative, default 0.01), or there is none to compare.
 */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { formatTable } from "../../src/cli/table.js";
import { median } from "../../src/core/median.js";
import { readMetrics } from "../../src/report/metrics.js";
import { readJsonlObjects } from "../../src/report/jsonl.js";
import { checkpointStep, readTrainerState } from "../../src/train/trainer-state.js";

const [ourFolder, theirFolder, toleranceText = "0.01"] = process.argv.slice(2);
if (ourFolder === undefined || theirFolder === undefined)
  throw new Error("usage: compare-curves.ts OUR_RUN_FOLDER THEIR_OUT_FOLDER [TOLERANCE]");
const tolerance = Number(toleranceText);

type Curve = Map<number, number>;

const theirs = { loss: new Map() as Curve, evaluation: new Map() as Curve };
const theirStepMs: number[] = [];
for await (const row of readJsonlObjects(join(theirFolder, "metrics.jsonl"))) {
  const step = Number(row.step);
  if (typeof row.loss === "number") theirs.loss.set(step, row.loss);
  if (typeof row.eval_loss === "number") theirs.evaluation.set(step, row.eval_loss);
  if (typeof row.step_ms === "number") theirStepMs.push(row.step_ms);
}

const metrics = await readMetrics(join(ourFolder, "metrics.jsonl"));
const ours = {
  loss: new Map(metrics.map(({ step, loss }) => [step, loss])),
  evaluation: new Map() as Curve,
};
for (const name of await readdir(ourFolder)) {
  if (checkpointStep(name) === undefined) continue;
  const { logHistory } = await readTrainerState(join(ourFolder, name, "trainer_state.json"));
  for (const { step, eval_loss: loss } of logHistory)
    if (typeof step === "number" && typeof loss === "number") ours.evaluation.set(step, loss);
}

/** The steps that both curves have, and how far apart they are there: |ours / theirs - 1|. */
const compare = (kind: "loss" | "evaluation") =>
  [...ours[kind]]
    .sort(([a], [b]) => a - b)
    .flatMap(([step, our]) => {
      const their = theirs[kind].get(step);
      return their === undefined
        ? []
        : [{ step, our, their, difference: Math.abs(our / their - 1) }];
    });

const print = (title: string, rows: ReturnType<typeof compare>): void => {
  const columns = ["step", "hira", "PyTorch", "difference"];
  const cells = rows.map(({ step, our, their, difference }) => [
    String(step),
    our.toFixed(6),
    their.toFixed(6),
    `${(100 * difference).toFixed(4)} %`,
  ]);
  console.log(title);
  for (const line of formatTable(
    columns.map((heading) => ({ heading, align: "right" })),
    cells,
  ))
    console.log(line);
  const largest = Math.max(...rows.map(({ difference }) => difference));
  console.log(`largest difference: ${(100 * largest).toFixed(4)} %\n`);
};

const evaluations = compare("evaluation");
print("Training loss", compare("loss"));
print("Validation loss", evaluations);
console.log(
  `median step: hira ${median(metrics.map(({ stepMs }) => stepMs)).toFixed(0)} ms, PyTorch ${median(theirStepMs).toFixed(0)} ms`,
);
const agree =
  evaluations.length > 0 && evaluations.every(({ difference }) => difference <= tolerance);
console.log(
  agree
    ? `All ${String(evaluations.length)} evaluations agree within ${toleranceText}`
    : `The evaluations do not agree within ${toleranceText}`,
);
process.exitCode = agree ? 0 : 1;
