/**
 * The demo's control: the same run on training rows whose answers were dealt out anew, which leaves nothing to learn but the form.
 *
 *     npm run build && npx tsx scripts/demo/shuffled-answers.ts
 *
 * Exits with 1 if the mean over the eight sets is not within its 95 % interval of chance.
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomically } from "../../src/core/atomic-file.js";
import { chanceOf, scoreTable, tuneAndAnswer } from "./compare.js";
import { DEMO_SEED } from "./recipe.js";
import { withShuffledAnswers } from "./shuffle.js";
import { mixedRows, taskNames } from "./tasks.js";

const workFolder = join("results_hira", "demo-shuffled");
await rm(workFolder, { recursive: true, force: true });
const dataRoot = join(workFolder, "data");
const write = (split: string, rows: object): Promise<void> =>
  writeFileAtomically(
    join(dataRoot, "llm_adapt", "commonsense_170k", `${split}.json`),
    JSON.stringify(rows),
  );
await write("train", withShuffledAnswers(mixedRows(DEMO_SEED, "train"), DEMO_SEED));
const validation = withShuffledAnswers(mixedRows(DEMO_SEED, "validation"), DEMO_SEED);
await write("validation", validation);
await write("test", validation);

const scores = await tuneAndAnswer(dataRoot, workFolder);
console.log(`\n${scoreTable({ "after HiRA on shuffled answers": scores })}`);

// Each set's accuracy is a mean of independent rows; at chance its variance is p (1 - p) / rows.
let [excess, variance] = [0, 0];
for (const task of taskNames) {
  const p = chanceOf(task) / 100;
  excess += (scores[task]?.accuracy ?? 0) / 100 - p;
  variance += (p * (1 - p)) / (scores[task]?.rows ?? 1);
}
const z = excess / Math.sqrt(variance);
console.log(
  `mean over the sets: ${((100 * excess) / taskNames.length).toFixed(1)} points above chance, z = ${z.toFixed(2)}`,
);
if (Math.abs(z) > 1.96) process.exitCode = 1;
