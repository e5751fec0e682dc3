/**
 * The demo: a small model answers eight sets before and after HiRA on their mixed training set.
 *
 *     npm run demo
 *
 * Everything is read from data_file/demo; what the run writes goes to results_hira/demo, which is emptied first.
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { answerUntuned, scoreTable, tuneAndAnswer } from "./compare.js";
import { demoFolder } from "./paths.js";

const workFolder = join("results_hira", "demo");
const started = performance.now();
await rm(workFolder, { recursive: true, force: true });
const before = await answerUntuned(workFolder);
const after = await tuneAndAnswer(demoFolder, workFolder);
console.log(`\n${scoreTable({ before, "after HiRA": after })}`);
console.log(`${((performance.now() - started) / 1000).toFixed(0)} s in all`);
