import { existsSync } from "node:fs";
import { join } from "node:path";
import { writeFileAtomically } from "../core/atomic-file.js";
import { UserError } from "../core/errors.js";
import { quoteJson, readJsonObject, type JsonObject } from "../core/json-file.js";
import { isJsonObject } from "../core/json.js";
import {
  classifierConfig,
  classifierModel,
  defaultLabel,
  headTensors,
  isClassifier,
  type Classifier,
} from "../models/classifier.js";
import type { ModelFolder } from "../models/model-folder.js";
import { weightOf, type Model } from "../models/model.js";
import { replaceWeights } from "../models/weights/frozen-weights.js";
import { readSafetensorsHeader } from "../models/weights/safetensors.js";
import { normal, zeros } from "../peft/init.js";
import { Tensor } from "../runtime/tensor.js";
import type { BaseModel } from "./load-base.js";

/** The standard deviation of new weights where a config says nothing. Source: initializer_range of transformers' configs. */
const usualRange = 0.02;

const rangeOf = ({ initializer_range: range, init_std: std }: JsonObject): number => {
  const given = range ?? std;
  return typeof given === "number" && given > 0 ? given : usualRange;
};

/** A head at its start: normal weights, biases of zero. */
const startHead = (
  model: Classifier,
  rawConfig: JsonObject,
  seed: number,
): ReadonlyMap<string, Tensor> =>
  new Map(
    [...headTensors(model)].map(([name, shape]) => {
      const init = shape.length > 1 ? normal(rangeOf(rawConfig)) : zeros;
      return [name, Tensor.fromArray("float32", shape, init(shape, seed, name))];
    }),
  );

/** A model's folder with a classifier's head in place of the output head; the head's tensors are in none of its files. */
export const classifierFolder = (
  folder: ModelFolder,
  labels: readonly string[],
  padId: number | undefined,
): ModelFolder => {
  const model = classifierModel(folder.model, labels);
  const kept = <T>(map: ReadonlyMap<string, T>): ReadonlyMap<string, T> =>
    new Map([...map].filter(([name]) => model.tensors.has(name)));
  return {
    ...folder,
    model,
    rawConfig: classifierConfig(folder.rawConfig, model, padId),
    weights: kept(folder.weights),
    shardOf: kept(folder.shardOf),
  };
};

/**
 * A base model as a classifier of `labels`: one that has a head keeps it, another gets one at its start values, a function of the seed.
 *
 * @param options.padId the token that rows are padded with
 * @throws {UserError} if the family has no such head
 */
export const withClassifier = (
  base: BaseModel,
  labels: readonly string[],
  { seed, padId }: { readonly seed: number; readonly padId: number | undefined },
): BaseModel => {
  if (isClassifier(base.folder.model)) return base;
  const folder = classifierFolder(base.folder, labels, padId);
  const { model } = folder;
  if (!isClassifier(model)) throw new RangeError("Cannot classify: found no classifier");
  return {
    ...base,
    folder,
    original:
      base.original === base.folder ? folder : classifierFolder(base.original, labels, padId),
    weights: replaceWeights(base.weights, startHead(model, base.folder.rawConfig, seed)),
  };
};

/** The names of the labels, beside a classifier's adapter: peft's files have no place for them. */
const labelsFile = "labels.json";

/** Writes the names of a classifier's labels into an adapter's folder, as config.json has them. */
export const writeLabels = async (folder: string, { labels }: Classifier): Promise<void> => {
  const id2label = Object.fromEntries(labels.map((label, i) => [String(i), label]));
  await writeFileAtomically(
    join(folder, labelsFile),
    `${JSON.stringify({ id2label }, undefined, 2)}\n`,
  );
};

/**
 * The labels of a classifier's adapter: the names that hira wrote beside it, else as many as its head has rows.
 *
 * @throws {UserError} if the head is not in the adapter's file, or there are names of other numbers
 */
export const readLabels = async (folder: string, model: Model): Promise<readonly string[]> => {
  const { classifier } = model;
  const last = classifier?.linears(1).at(-1);
  const path = join(folder, "adapter_model.safetensors");
  const name = last && `base_model.model.${weightOf(last)}`;
  const { entries } = await readSafetensorsHeader(path);
  const count = name === undefined ? undefined : entries.get(name)?.shape[0];
  if (count === undefined || count < 2)
    throw new UserError(
      `Cannot load the classifier in ${path}: found ${count === undefined ? `no ${name ?? "head"}` : `${String(count)} label`}, expected a head of two labels or more`,
      "An adapter of task_type SEQ_CLS holds its head (modules_to_save)",
    );
  const names = join(folder, labelsFile);
  if (!existsSync(names)) return Array.from({ length: count }, (_, i) => defaultLabel(i));
  const { id2label } = await readJsonObject(names);
  const labels = Array.from({ length: count }, (_, i) =>
    isJsonObject(id2label) ? id2label[String(i)] : undefined,
  );
  if (!labels.every((label) => typeof label === "string"))
    throw new UserError(
      `Cannot read ${names}: found id2label ${quoteJson(id2label)}, expected the names of the head's ${String(count)} labels`,
    );
  return labels;
};
