import { planned, type ComputeChoice, type Planned } from "../runtime/compute-plan.js";
import { existsSync } from "node:fs";
import { copyFile, realpath } from "node:fs/promises";
import { join } from "node:path";
import { writeFolderAtomically } from "../core/atomic-file.js";
import type { TypedArray } from "../core/dtype.js";
import { listFolder } from "../core/folder.js";
import { requireRoomFor } from "../core/new-file.js";
import { UserError, userErrorOfFaults } from "../core/errors.js";
import { countNonFinite } from "../core/half.js";
import { nameRow } from "../core/row-names.js";
import type { EncodedRow } from "../datasets/encoded-rows.js";
import { readPreTokenized } from "../datasets/pre-tokenized.js";
import { mergedForm } from "../decode/merge-adapter.js";
import { isClassifier } from "../models/classifier.js";
import { modelFile } from "../models/model-files.js";
import { loadModelFolder } from "../models/model-folder.js";
import { openFrozenWeights } from "../models/weights/frozen-weights.js";
import { readTensorData, toFloat32 } from "../models/weights/safetensors.js";
import {
  copyCompanions,
  requireCompanions,
  writeModelFolder,
} from "../models/write-model-folder.js";
import type { ProgressUi } from "../report/progress.js";
import type { BaseStorage } from "../train/load-base.js";
import { compareLogits, sampleRows, sampleSize, type LogitComparison } from "./compare-logits.js";
import {
  openMergedTensors,
  type MergedTensor,
  type MergedTensors,
  type ModelLayout,
} from "./merged-tensors.js";
import { deviceChecks } from "./device-checks.js";
import type { GivenFlags } from "./recorded-flags.js";

/** What `hira merge` was asked: an adapter, its base, and the folder to write. */
export interface MergeRunOptions extends BaseStorage, ComputeChoice {
  /** A run folder, one checkpoint, or a peft adapter. */
  readonly ckpt: string;
  readonly loadOrder: number;
  /** The base model that somebody has named; see findBase. */
  readonly modelName: string | undefined;
  /** The flags that somebody wrote. */
  readonly givenFlags?: GivenFlags;
  /** The folder to write. */
  readonly out: string;
  /** A merged folder: it is checked to be base and adapter, and the base is written to `out`. */
  readonly unmerge: string | undefined;
  /** Rows of token ids on which the logits are compared; undefined for rows of our own. */
  readonly input: string | undefined;
}

/**
 * `hira merge`: writes a model with what was trained in its weights, or, with `unmerge`, the base model again.
 *
 * The folder is made beside `out` under a hidden name and renamed when all of it is there and checked.
 * @throws {UserError} if `out` is not empty or is the base, what was trained cannot be merged, or a value is not finite;
 *   nothing is left behind
 */
export const runMerge = (options: MergeRunOptions, ui: ProgressUi): Promise<void> =>
  planned(options, (known) => mergeOrUnmerge(known, ui));

const mergeOrUnmerge = async (
  options: MergeRunOptions & Planned,
  ui: ProgressUi,
): Promise<void> => {
  await requireFree(options.out);
  const merged = await openMergedTensors(options, ui);
  try {
    await requireCompanions(merged.base.path, merged.tokenizerFolder);
    if (options.unmerge === undefined) await merge(merged, options, ui);
    else await unmerge(merged, options.unmerge, options.out, ui);
  } finally {
    merged.dispose();
  }
};

/** @throws {UserError} unless `out` is no folder yet, or an empty one */
const requireFree = async (out: string): Promise<void> => {
  if (!existsSync(out)) return requireRoomFor(out, "--out");
  const names = await listFolder(out, {
    task: `Cannot write a model to ${out}`,
    expected: "a new or empty folder",
    hint: "Nothing is overwritten: choose another --out",
  });
  if (names.length === 0) return;
  throw new UserError(
    names.includes("config.json")
      ? `Cannot merge in place: found a model in ${out}, expected --out to be a new or empty folder`
      : `Cannot write a model to ${out}: found ${names.slice(0, 4).join(", ")}${names.length > 4 ? ", ..." : ""}, expected a new or empty folder`,
    "Nothing is overwritten: choose another --out",
  );
};

const writeHint = "Choose an --out that is writable and has room";

const merge = async (
  merged: MergedTensors,
  options: MergeRunOptions & Planned,
  ui: ProgressUi,
): Promise<void> => {
  const { out, input, plan } = options;
  const tellCheck = deviceChecks(options, ui);
  const { base, model } = merged;
  const rows = input === undefined ? sampleRows(model.model) : await readRows(input, model);
  let comparison: LogitComparison | undefined;
  const write = async (folder: string): Promise<void> => {
    await writeMerged(merged, folder, ui);
    const { model, weights } = await loadModelFolder(folder);
    const others = [
      { model, weights: await openFrozenWeights(weights, { storage: "stored" }) },
      ...(merged.adapted ? [{ ...merged.unmerged, adapted: mergedForm(merged.adapted) }] : []),
    ];
    comparison = await compareLogits(merged.unmerged, others, { rows, plan, tellCheck });
    const [difference] = comparison.differences;
    if (!Number.isFinite(difference?.largest))
      throw new UserError(
        `Cannot merge ${merged.folder}: found logits that are not finite, expected finite ones`,
        "Choose an earlier checkpoint with --load_order",
      );
  };
  await writeFolderAtomically(out, write, writeHint);
  const files = new Set(model.shardOf.values()).size;
  ui.line(
    `Merged ${merged.method} of ${merged.folder} into ${out}: ${String(merged.changed.size)} of ${String(model.weights.size)} tensors, ${dtypesOf(model, merged.changed).join(" and ")}, ${String(files)} weight file${files === 1 ? "" : "s"} as the base`,
  );
  if (model.model.vocabSize !== base.model.vocabSize)
    ui.line(
      `The vocabulary is the adapter's: config.json says vocab_size ${String(model.model.vocabSize)}, the base's ${String(base.model.vocabSize)}`,
    );
  if (base.model.tieWordEmbeddings && !model.model.tieWordEmbeddings)
    ui.line(
      "The base ties its head to its embedding, and training has told them apart: the merged model has both (tie_word_embeddings: false)",
    );
  if (merged.unpacked.size > 0)
    ui.line(
      `The base is held quantized: ${String(merged.unpacked.size)} tensors are written as the numbers that their codes stand for, the merged ones among them`,
    );
  if (comparison) for (const line of describe(comparison, merged, input)) ui.line(line);
};

/** Token ids of a file, as rows that the model has positions for. */
const readRows = async (
  input: string,
  { model }: Pick<ModelLayout, "model">,
): Promise<readonly EncodedRow[]> => {
  const { vocabSize, maxPositionEmbeddings } = model;
  const { rows } = await readPreTokenized(
    input,
    { vocabularySize: vocabSize },
    { labels: "optional" },
  );
  const long = rows.find(({ ids }) => ids.length > maxPositionEmbeddings);
  if (long)
    throw new UserError(
      `Cannot compare logits on ${input}: found ${String(long.ids.length)} tokens in ${nameRow(long.row)}, expected at most the model's ${String(maxPositionEmbeddings)}`,
    );
  return rows;
};

const writeMerged = async (
  merged: MergedTensors,
  folder: string,
  ui: ProgressUi,
): Promise<void> => {
  const { base, model } = merged;
  const faults: string[] = [];
  const progress = ui.decoding(model.weights.size, "merge", "tensors");
  const tensors = [...model.weights.values()].map(({ name, dtype, shape }) => ({
    name,
    dtype,
    shape,
    data: async (): Promise<TypedArray> => {
      const data = await merged.read(name);
      const count = countNonFinite(dtype, data);
      if (count > 0)
        faults.push(
          `"${name}": found ${String(count)} of ${String(data.length)} values that are not finite in ${dtype}, expected none`,
        );
      progress.advance(1, name);
      return data;
    },
  }));
  try {
    await writeModelFolder({
      path: folder,
      rawConfig: model.rawConfig,
      tensors,
      shardOf: model.shardOf,
      copyFrom: base.path,
      tokenizerFrom: merged.tokenizerFolder,
    });
  } finally {
    progress.done();
  }
  if (faults.length > 0)
    throw userErrorOfFaults(
      `Cannot merge ${merged.folder}`,
      faults,
      "Choose an earlier checkpoint with --load_order, or a base in a dtype with a larger range",
    );
};

const dtypesOf = ({ weights }: ModelLayout, names: ReadonlySet<string>): readonly string[] => [
  ...new Set([...names].flatMap((name) => weights.get(name)?.dtype ?? [])),
];

const digits = (value: number): string =>
  value === 0 ? "0" : String(Number(value.toPrecision(3)));

const describe = (
  { largestLogit, positions, differences }: LogitComparison,
  { model, changed, adapted }: MergedTensors,
  input: string | undefined,
): readonly string[] => {
  const [rounded, exact] = differences;
  const rows =
    input === undefined
      ? `${String(sampleSize.rows)} rows of random token ids, a sample of our own`
      : `the rows of ${input}`;
  const narrow = dtypesOf(model, changed).filter((dtype) => dtype !== "float32");
  return [
    `Largest logit difference to the unmerged ${adapted ? "adapter" : "checkpoint"}: ${digits(rounded?.largest ?? NaN)}, where logits reach ${digits(largestLogit)}; the likeliest ${isClassifier(model.model) ? "label" : "token"} is the same at ${String(rounded?.sameToken ?? 0)} of ${String(positions)} positions (${rows})`,
    ...(exact
      ? [
          `  with the merged weights in float32: ${digits(exact.largest)}${narrow.length > 0 ? `; what is above it is the rounding of the weights to ${narrow.join(" and ")}` : ""}`,
        ]
      : narrow.length > 0
        ? [`  all of it is the rounding of the weights to ${narrow.join(" and ")}`]
        : []),
  ];
};

/** How a tensor of a merged folder differs from base and adapter, merged anew. */
interface Deviation {
  /** The largest |found - expected|. */
  readonly largest: number;
  /** What is wrong; undefined for what is no more than another program's rounding. */
  readonly fault: string | undefined;
}

/**
 * Compares one tensor. One that training left alone must be the base's, bit for bit. Of a merged one another program may
 * have rounded differently, but it is nearer to base and adapter than half of the way from the base, and no element is
 * farther off than the largest change.
 */
const compareTensor = (
  entry: MergedTensor,
  tensors: Readonly<Record<"found" | "expected" | "base", TypedArray>>,
): Deviation => {
  const found = toFloat32(entry.dtype, tensors.found);
  const expected = toFloat32(entry.dtype, tensors.expected);
  const base = toFloat32(entry.dtype, tensors.base);
  let [largest, distance, largestChange, change] = [0, 0, 0, 0];
  for (const [i, value] of expected.entries()) {
    const off = Math.abs((found[i] ?? NaN) - value);
    const moved = Math.abs(value - (base[i] ?? NaN));
    if (!(off <= largest)) largest = off;
    largestChange = Math.max(largestChange, moved);
    distance += off * off;
    change += moved * moved;
  }
  const fits = largest === 0 || (4 * distance <= change && largest <= largestChange);
  return {
    largest,
    fault: fits
      ? undefined
      : `"${entry.name}": found values up to ${digits(largest)} away, where merging changes it by up to ${digits(largestChange)}`,
  };
};

const unmerge = async (
  merged: MergedTensors,
  path: string,
  out: string,
  ui: ProgressUi,
): Promise<void> => {
  const { base, model } = merged;
  const given = await loadModelFolder(path);
  const faults: string[] = [];
  let largest = 0;
  const progress = ui.decoding(model.weights.size, "compare", "tensors");
  try {
    for (const [name, entry] of model.weights) {
      const found = given.weights.get(name);
      const expected = `${entry.dtype} [${entry.shape.join(", ")}]`;
      const shown = found ? `${found.dtype} [${found.shape.join(", ")}]` : "nothing";
      if (!found || shown !== expected) {
        faults.push(`"${name}": found ${shown}, expected ${expected}`);
        continue;
      }
      const original = await merged.readBase(name);
      const deviation = compareTensor(entry, {
        found: await readTensorData(found),
        expected: merged.changed.has(name) ? await merged.read(name) : original,
        base: original,
      });
      largest = Math.max(largest, deviation.largest);
      if (deviation.fault !== undefined) faults.push(deviation.fault);
      progress.advance(1, name);
    }
  } finally {
    progress.done();
  }
  for (const name of given.weights.keys())
    if (!model.weights.has(name)) faults.push(`"${name}": found it, expected no such tensor`);
  if (faults.length > 0)
    throw userErrorOfFaults(
      `Cannot unmerge ${path}: it is not ${base.path} with ${merged.method} of ${merged.folder}`,
      faults,
      "Give the checkpoint that was merged, and the base model that it was merged into",
    );
  const write = async (folder: string): Promise<void> => {
    for (const name of base.files)
      await copyFile(await realpath(modelFile(base.path, name)), join(folder, name));
    await copyCompanions(base.path, folder);
  };
  await writeFolderAtomically(out, write, writeHint);
  ui.line(
    `${path} is ${base.path} with ${merged.method} of ${merged.folder}: the largest difference of a weight is ${digits(largest)}${largest === 0 ? ", so it is the same bit for bit" : ""}`,
  );
  ui.line(`Wrote the base again, bit for bit: ${out}`);
};
