import { UserError } from "../core/errors.js";
import { JsonFields, size } from "../core/json-fields.js";
import { quoteJson, type JsonObject } from "../core/json-file.js";
import { isJsonObject } from "../core/json.js";
import { weightOf, type ClassifierHead, type LinearModule, type Model } from "./model.js";

/** A model that has a classifier's head in place of its output head. */
export type Classifier = Model & {
  readonly classifier: ClassifierHead;
  readonly labels: readonly string[];
};

/** Whether a model has a head for classes, and names for them. */
export const isClassifier = (model: Model): model is Classifier =>
  model.classifier !== undefined && model.labels !== undefined;

/** How many logits a model gives for a row: its vocabulary, or the classes of a classifier. */
export const classesOf = ({ vocabSize, labels }: Pick<Model, "vocabSize" | "labels">): number =>
  labels?.length ?? vocabSize;

/** The layers of a classifier's head. */
export const headLinears = ({ classifier, labels }: Classifier): readonly LinearModule[] =>
  classifier.linears(labels.length);

/** The tensors of a classifier's head with their shapes. */
export const headTensors = (model: Classifier): ReadonlyMap<string, readonly number[]> =>
  new Map(
    headLinears(model).flatMap((module): [string, readonly number[]][] => [
      [weightOf(module), [module.outFeatures, module.inFeatures]],
      ...(module.bias
        ? [[`${module.path}.bias`, [module.outFeatures]] as [string, readonly number[]]]
        : []),
    ]),
  );

/**
 * The model with a classifier's head in place of its output head: `logits` are [rows, labels].
 *
 * @throws {UserError} if the family has no such head
 */
export const classifierModel = (model: Model, labels: readonly string[]): Classifier => {
  const { classifier, head } = model;
  if (!classifier)
    throw new UserError(
      `Cannot classify texts with this ${model.modelType}: found nothing that a classifier's head could stand on, expected a decoder, or an encoder with all of its layers (BERT's pooler among them)`,
    );
  const own = head && `${head.path}.weight`;
  // A classifier needs all of its layers: BERT's stands on the pooler.
  const { fitted: _fitted, ...whole } = model;
  const made: Classifier = {
    ...whole,
    classifier,
    labels,
    head: undefined,
    tieWordEmbeddings: false,
    logits: (g, hidden, hooks) => classifier.logits(g, hidden, labels.length, hooks),
    isRedundant: (name) => name === own || model.isRedundant(name),
    untied: () => classifierModel(model, labels),
    resized: (vocabSize) => classifierModel(model.resized(vocabSize), labels),
  };
  return {
    ...made,
    tensors: new Map([
      ...[...model.tensors].filter(([name]) => name !== own),
      ...headTensors(made),
    ]),
  };
};

/**
 * @param path names the model in the error
 * @throws {UserError} on a model that predicts no next token: an encoder, or a classifier
 */
export const requireLanguageModel = (
  { modelType, head, labels }: Pick<Model, "modelType" | "head" | "labels">,
  path: string,
): void => {
  if (head) return;
  const found = labels
    ? `a classifier of ${String(labels.length)} labels`
    : `${modelType}, an encoder without an output head`;
  throw new UserError(
    `Cannot predict tokens with ${path}: found ${found}, expected a model that predicts the next token`,
    labels
      ? "It says the class of a text: --dataset=sst2, or --task=sequence-classification with a file of rows"
      : "An encoder classifies texts (--task=sequence-classification), and hira score takes it as --bert_model; to train on text and write it, give a decoder",
  );
};

/** transformers' name of a class without one. */
export const defaultLabel = (i: number): string => `LABEL_${String(i)}`;

/**
 * The labels of a config.json whose architecture is a classifier of single labels; undefined for other models.
 *
 * @throws {UserError} if id2label has other keys than 0, 1, ..., or the classifier is one of several labels or of numbers
 */
export const labelsOfConfig = (raw: JsonObject, where: string): readonly string[] | undefined => {
  const { architectures } = raw;
  const name: unknown = Array.isArray(architectures) ? architectures[0] : undefined;
  if (typeof name !== "string" || !name.endsWith("ForSequenceClassification")) return undefined;
  const problem = raw.problem_type ?? "single_label_classification";
  if (problem !== "single_label_classification")
    throw new UserError(
      `Cannot load ${where}: found problem_type ${quoteJson(problem)}, expected "single_label_classification"`,
      "Classifiers of one label a text are read; those of several labels and of numbers are not",
    );
  const names = raw.id2label;
  if (names === undefined || names === null) {
    const faults: string[] = [];
    const count = new JsonFields(raw, "", faults).optional("num_labels", size, 2);
    const [fault] = faults;
    if (fault !== undefined) throw new UserError(`Cannot load ${where}: ${fault}`);
    return Array.from({ length: count }, (_, i) => defaultLabel(i));
  }
  const entries = isJsonObject(names) ? Object.entries(names) : [];
  const labels = entries.map((_, i) => (names as JsonObject)[String(i)]);
  if (labels.length < 2 || !labels.every((label) => typeof label === "string"))
    throw new UserError(
      `Cannot load ${where}: found id2label ${quoteJson(names)}, expected the names of two classes or more, by 0, 1, ...`,
    );
  return labels;
};

/**
 * The config.json of a classifier: the model's, with the class of transformers and the names of the labels.
 *
 * @param padId the token that rows are padded with; decoders look for the last one that is another
 */
export const classifierConfig = (
  raw: JsonObject,
  { classifier, labels }: Classifier,
  padId: number | undefined,
): JsonObject => {
  const { num_labels: _count, _num_labels: _oldCount, ...others } = raw;
  return {
    ...others,
    architectures: [classifier.architecture],
    id2label: Object.fromEntries(labels.map((label, i) => [String(i), label])),
    label2id: Object.fromEntries(labels.map((label, i) => [label, i])),
    ...(padId !== undefined && classifier.pools === "last" && { pad_token_id: padId }),
    problem_type: "single_label_classification",
  };
};
