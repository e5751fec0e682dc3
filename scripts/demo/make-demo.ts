/**
 * Makes data_file/demo from nothing: text, tokenizer, random model, full fine-tuning by hira itself, eight sets.
 *
 *     npm run build && npx tsx scripts/demo/make-demo.ts
 *
 * The same seed gives the same bytes on the same class of machine with the same number of threads. Files on the way go to
 * results_hira/make-demo, which is emptied first.
 */
import { copyFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomically } from "../../src/core/atomic-file.js";
import { contextText, templates } from "../../src/datasets/templates.js";
import { pickCheckpoint } from "../../src/train/checkpoint-folder.js";
import { loadTokenizer } from "../../src/tokenizer/load-tokenizer.js";
import type { Tokenizer } from "../../src/tokenizer/tokenizer.js";
import { hira, onlyRunIn } from "./hira.js";
import { demoFolder, modelFiles } from "./paths.js";
import { writeRandomModel } from "./random-model.js";
import { DEMO_SEED, pretraining, VOCABULARY_SIZE } from "./recipe.js";
import { mixedRows, taskFolders, taskNames, taskRows, type TaskRow } from "./tasks.js";
import { tokenizerConfig, trainTokenizer } from "./tokenizer.js";
import { worldSentences, worldText } from "./world.js";

/** What the tokenizer learns from: every sentence of the world once, and some rows as the template wraps them. */
function* tokenizerText(): Generator<string> {
  yield* worldSentences(DEMO_SEED);
  for (const { instruction, output } of mixedRows(DEMO_SEED, "validation"))
    yield contextText(templates[4], instruction) + output;
}

/** `count` rows of `rowTokens` tokens: the beginning-of-text token, then pieces of text a line each, the last one cut. */
function* textRows(
  tokenizer: Tokenizer,
  pieces: Iterator<string>,
  count: number,
): Generator<string> {
  for (let row = 0; row < count; row++) {
    const ids = [tokenizer.bosId ?? 0];
    while (ids.length < pretraining.rowTokens) {
      const piece = pieces.next();
      if (piece.done) throw new RangeError("the text is too short for its rows");
      ids.push(...tokenizer.encode(`${piece.value}\n`));
    }
    ids.length = pretraining.rowTokens;
    yield `${JSON.stringify({ input_ids: ids, labels: ids })}\n`;
  }
}

/** The chunks as bytes, so that a large file is never one string. */
function* bytesOf(lines: Iterable<string>): Generator<Uint8Array> {
  for (const line of lines) yield Buffer.from(line);
}

const writeRows = (path: string, rows: readonly TaskRow[]): Promise<void> =>
  writeFileAtomically(path, `${JSON.stringify(rows, null, 1)}\n`);

const workFolder = join("results_hira", "make-demo");
const start = join(workFolder, "start");
await rm(workFolder, { recursive: true, force: true });

await writeRandomModel(start, DEMO_SEED);
await writeFileAtomically(
  join(start, "tokenizer.json"),
  JSON.stringify(trainTokenizer(tokenizerText(), VOCABULARY_SIZE)),
);
await writeFileAtomically(
  join(start, "tokenizer_config.json"),
  `${JSON.stringify(tokenizerConfig, null, 2)}\n`,
);

const tokenizer = await loadTokenizer(start);
const pieces = worldText(DEMO_SEED, Infinity);
const [training, validation] = [join(workFolder, "text.jsonl"), join(workFolder, "held-out.jsonl")];
await writeFileAtomically(training, bytesOf(textRows(tokenizer, pieces, pretraining.rows)));
await writeFileAtomically(
  validation,
  bytesOf(textRows(tokenizer, pieces, pretraining.validationRows)),
);

const runs = join(workFolder, "runs");
await hira(
  ...pretraining.flags,
  `--model=${start}`,
  `--dataset=${training}`,
  `--validation=${validation}`,
  `--output_folder=${runs}`,
);
const { best } = await pickCheckpoint(await onlyRunIn(runs), -1);

await rm(demoFolder, { recursive: true, force: true });
for (const file of modelFiles) {
  const folder = file === "model.safetensors" ? best.folder : start;
  await writeFileAtomically(join(demoFolder, file), "");
  await copyFile(join(folder, file), join(demoFolder, file));
}
const sets = join(demoFolder, "llm_adapt");
for (const task of taskNames)
  for (const split of ["train", "test"] as const)
    await writeRows(
      join(sets, taskFolders[task], `${split}.json`),
      taskRows(DEMO_SEED, task, split),
    );
const mixed = join(sets, "commonsense_170k");
await writeRows(join(mixed, "train.json"), mixedRows(DEMO_SEED, "train"));
// The authors' split has the same rows twice, too.
for (const split of ["validation", "test"])
  await writeRows(join(mixed, `${split}.json`), mixedRows(DEMO_SEED, "validation"));
