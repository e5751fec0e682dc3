/**
 * Makes data_file/demo from nothing: text, tokenizer, random model, full fine-tuning by hira itself, eight sets.
 *
 *     npm run build && npx tsx scripts/demo/make-demo.ts
 *
 * The same seed gives the same bytes on the same class of machine with the same number of threads. Files on the way go to
 * results_hira/make-demo, which is emptied first.
 */
import { copyFile, mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomically } from "../../src/core/atomic-file.js";
import { contextText, templates } from "../../src/datasets/templates.js";
import { loadModelFolder } from "../../src/models/model-folder.js";
import { readTensorsAsFloat32 } from "../../src/models/weights/safetensors.js";
import { writeModelFolder } from "../../src/models/write-model-folder.js";
import { pickCheckpoint } from "../../src/train/checkpoint-folder.js";
import { loadTokenizer } from "../../src/tokenizer/load-tokenizer.js";
import type { Tokenizer } from "../../src/tokenizer/tokenizer.js";
import { hira, onlyRunIn } from "./hira.js";
import { demoFolder } from "./paths.js";
import { writeRandomModel } from "./random-model.js";
import { DEMO_SEED, LARGEST_VOCABULARY, pretraining } from "./recipe.js";
import { mixedRows, taskFolders, taskNames, taskRows, type TaskRow } from "./tasks.js";
import { tokenizerConfig, trainTokenizer } from "./tokenizer.js";
import { worldText, type Passage } from "./world.js";

/** What the tokenizer learns from: some of the world's text, and rows of the sets as the template wraps them. */
function* tokenizerText(): Generator<string> {
  for (const { text } of worldText(DEMO_SEED, pretraining.tokenizerPassages, {
    mix: pretraining.rounds[0].mix,
  }))
    yield text;
  for (const { instruction, output } of mixedRows(DEMO_SEED, "train"))
    yield contextText(templates[4], instruction) + output;
}

/** A row of token ids a passage, between the tokens that begin and end a text; what is only read carries no loss. */
function* textRows(tokenizer: Tokenizer, passages: Iterable<Passage>): Generator<string> {
  for (const { text, labelledFrom } of passages) {
    const read = tokenizer.encode(`${tokenizer.bosToken ?? ""}${text.slice(0, labelledFrom)}`);
    const written = tokenizer.encode(`${text.slice(labelledFrom)}${tokenizer.eosToken ?? ""}`);
    const labels = [...(labelledFrom > 0 ? read.map(() => -100) : read), ...written];
    yield `${JSON.stringify({ input_ids: [...read, ...written], labels })}\n`;
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

await writeFileAtomically(
  join(start, "tokenizer.json"),
  JSON.stringify(trainTokenizer(tokenizerText(), LARGEST_VOCABULARY)),
);
await writeFileAtomically(
  join(start, "tokenizer_config.json"),
  `${JSON.stringify(tokenizerConfig, null, 2)}\n`,
);

const tokenizer = await loadTokenizer(start);
await writeRandomModel(start, DEMO_SEED, tokenizer.vocabularySize);
let model = start;
for (const [round, { passages, lr, mix }] of pretraining.rounds.entries()) {
  const training = join(workFolder, `text-${String(round)}.jsonl`);
  const text = worldText(DEMO_SEED, passages, { mix, round });
  await writeFileAtomically(training, bytesOf(textRows(tokenizer, text)));
  const runs = join(workFolder, `round-${String(round)}`);
  await hira(
    ...pretraining.flags,
    `--lr=${lr}`,
    `--model=${model}`,
    `--dataset=${training}`,
    `--output_folder=${runs}`,
  );
  model = (await pickCheckpoint(await onlyRunIn(runs), -1)).best.folder;
}
const trained = await loadModelFolder(model);
const tensors = await readTensorsAsFloat32(trained.weights);

await rm(demoFolder, { recursive: true, force: true });
for (const file of ["tokenizer.json", "tokenizer_config.json"]) {
  await mkdir(demoFolder, { recursive: true });
  await copyFile(join(start, file), join(demoFolder, file));
}
await writeModelFolder({
  path: demoFolder,
  rawConfig: trained.rawConfig,
  tensors: Array.from(trained.weights, ([name, { shape }]) => ({
    name,
    dtype: "float32" as const,
    shape,
    data: tensors.get(name) ?? new Float32Array(),
  })),
  dtype: "bfloat16",
});
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
