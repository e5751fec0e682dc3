import { isFloat } from "../core/dtype.js";
import { UserError, userErrorOfFaults } from "../core/errors.js";
import { embeddingTensor, ownHead, requireHead, type Model } from "../models/model.js";
import type { ModelFolder } from "../models/model-folder.js";
import { holdSameNumbers, resolveTiedHead } from "../models/tied-head.js";
import type { TensorEntry } from "../models/weights/safetensors.js";

/** The two modules with a row a token. */
const tables = ["embedding", "head"] as const;
type Table = (typeof tables)[number];
type Tables = Pick<Model, Table>;

/** The tensor of a table that is not tied. @throws {RangeError} for the head of a model without one */
const tensorOf = (model: Tables, table: Table): string =>
  table === "embedding" ? embeddingTensor(model) : `${requireHead(model).path}.weight`;

/** The tables that a model has. */
const tablesOf = ({ head }: Pick<Tables, "head">): readonly Table[] =>
  head ? tables : ["embedding"];

const tableName = /^base_model\.(.+?)\.(?:(base_layer|original_module|modules_to_save)\.)?weight$/;

interface TablePart {
  readonly table: Table;
  /** Whose values they are: the base's, or what the adapter has trained; "again" for what stands in the file twice. */
  readonly of: "base" | "adapter" | "again";
}

/**
 * What a tensor of an adapter's file is of the embedding or the head; undefined for all others.
 *
 * @param saved see namesToSave
 */
const tablePart = (
  fileName: string,
  model: Tables,
  saved: readonly string[],
): TablePart | undefined => {
  const [, path, wrapper] = tableName.exec(fileName) ?? [];
  // Behind `base_model.model.` where layers are adapted, behind `base_model.` where virtual tokens are.
  const table = tables.find((name) => {
    const own = model[name]?.path;
    return own !== undefined && (path === own || path === `model.${own}`);
  });
  if (path === undefined || table === undefined) return undefined;
  if (wrapper === "modules_to_save") return { table, of: "again" };
  const isSaved = wrapper === undefined && saved.some((name) => path.endsWith(name));
  return { table, of: isSaved ? "adapter" : "base" };
};

/** Whether a tensor of an adapter's file holds other numbers than the base's embedding or head; undefined if it is neither. */
export const isOtherTable = async (
  entry: TensorEntry,
  { weights, model }: Pick<ModelFolder, "weights" | "model">,
): Promise<boolean | undefined> => {
  const part = tablePart(entry.name, model, []);
  if (!part) return undefined;
  if (part.of === "again") return false;
  const own = weights.get(tensorOf(model, part.table)) ?? weights.get(embeddingTensor(model));
  return !own || !(await holdSameNumbers(own, entry));
};

/** Whether a tensor of an adapter's file is no part of the adapter: the base's, or a saved module for a second time. */
export const isBaseCopy = (fileName: string, model: Tables, saved: readonly string[]): boolean =>
  (tablePart(fileName, model, saved)?.of ?? "adapter") !== "adapter";

/**
 * What an adapter's file holds of the model that it was made on: the embedding and the head as they were there.
 *
 * peft saves them by itself where the vocabulary was resized or they are targets, and always with save_embedding_layers.
 * Source: get_peft_model_state_dict of peft 0.21.2.
 */
export interface BaseCopies {
  /** The adapter's folder. */
  readonly folder: string;
  /** What stands in place of the base's own. */
  readonly ofBase: ReadonlyMap<Table, TensorEntry>;
  /** Those that trained in full beside the adapter (modules_to_save); the base has its own beside them. */
  readonly ofAdapter: ReadonlyMap<Table, TensorEntry>;
}

/** The embedding and the head among the tensors of an adapter's file. */
export const findBaseCopies = (
  folder: string,
  model: Tables,
  saved: readonly string[],
  entries: ReadonlyMap<string, TensorEntry>,
): BaseCopies => {
  const found = { base: new Map<Table, TensorEntry>(), adapter: new Map<Table, TensorEntry>() };
  for (const [fileName, entry] of entries) {
    const part = tablePart(fileName, model, saved);
    if (part && part.of !== "again") found[part.of].set(part.table, entry);
  }
  return { folder, ofBase: found.base, ofAdapter: found.adapter };
};

/** The rows of all copies. @throws {UserError} listing copies that are no table of this model, or of several vocabularies */
const rowsOf = (
  { model, path }: ModelFolder,
  { folder, ofBase, ofAdapter }: BaseCopies,
): number => {
  const copies = [...ofBase.values(), ...ofAdapter.values()];
  const rows = copies[0]?.shape[0] ?? model.vocabSize;
  const faults = copies.flatMap(({ name, shape, dtype }) => {
    if (shape.length !== 2 || shape[1] !== model.embedding.inFeatures || shape[0] !== rows)
      return `"${name}": found [${shape.join(", ")}], expected [${String(rows)}, ${String(model.embedding.inFeatures)}]`;
    return isFloat(dtype) ? [] : `"${name}": found ${dtype}, expected a float dtype`;
  });
  if (faults.length > 0)
    throw userErrorOfFaults(`Cannot put the adapter ${folder} on ${path}`, faults);
  return rows;
};

/** Whether nothing reads a table of the base, since the adapter has its own in its place. */
const isUnread = (table: Table, { tieWordEmbeddings }: Model, { ofAdapter }: BaseCopies): boolean =>
  ofAdapter.has(table) && (table === "head" || !tieWordEmbeddings || ofAdapter.has("head"));

/** A base model with the tables of an adapter's file in it. */
export interface BaseWithCopies {
  readonly model: ModelFolder;
  /** Whose tables they are now, for the person to read; undefined where the copies change nothing. */
  readonly note: string | undefined;
  readonly warnings: readonly string[];
}

/** The copies that are to stand in place of the base's tables: those that hold other numbers. */
const findReplaced = async (
  { model, weights }: ModelFolder,
  { ofBase }: BaseCopies,
): Promise<ReadonlyMap<Table, TensorEntry>> => {
  const replaced = new Map<Table, TensorEntry>();
  const named = [...ofBase].map(
    ([table, entry]) => [table, { ...entry, name: tensorOf(model, table) }] as const,
  );
  for (const [table, entry] of named) {
    const own = weights.get(tensorOf(model, model.tieWordEmbeddings ? "embedding" : table));
    if (!own || !(await holdSameNumbers(own, entry))) replaced.set(table, entry);
  }
  // Of tied tables both or none: what is replaced in one alone would tell them apart.
  return model.tieWordEmbeddings && replaced.size > 0 ? new Map(named) : replaced;
};

const namesOf = (found: Iterable<Table>): string => {
  const names = new Set(found);
  return tables.filter((table) => names.has(table)).join(" and ");
};

/**
 * The model that an adapter was made on: the base, with the adapter's copies in place of its embedding and head, and with their
 * number of rows for its vocabulary.
 *
 * Where the base ties the two, one copy stands for both, as in peft, which loads it into both.
 * @throws {UserError} if a copy does not fit, or the vocabularies differ and the rows of a table are nowhere
 */
export const withBaseCopies = async (
  base: ModelFolder,
  copies: BaseCopies,
): Promise<BaseWithCopies> => {
  const { folder, ofBase, ofAdapter } = copies;
  const { model, rawConfig, path } = base;
  const vocabSize = rowsOf(base, copies);
  const isResized = vocabSize !== model.vocabSize;
  const replaced = await findReplaced(base, copies);
  if (replaced.size === 0 && !isResized) return { model: base, note: undefined, warnings: [] };

  const [embedding, head] = [embeddingTensor(model), ownHead(model)];
  const weights = new Map(base.weights);
  for (const entry of replaced.values()) weights.set(entry.name, entry);
  if (model.tieWordEmbeddings && replaced.size > 0 && !replaced.has("embedding"))
    weights.delete(embedding);
  const shardOf = new Map(base.shardOf);
  const shard = shardOf.get(embedding);
  if (shard !== undefined && head !== undefined && !shardOf.has(head) && weights.has(head))
    shardOf.set(head, shard);
  const resized = {
    ...base,
    weights,
    shardOf,
    model: model.resized(vocabSize),
    ...(isResized && { rawConfig: { ...rawConfig, vocab_size: vocabSize } }),
  };
  const { files, warnings } = await resolveTiedHead(resized, folder);
  return {
    model: { ...files, weights: withSavedRows(base, files, copies) },
    note: `${folder} ${isResized ? `was made for a vocabulary of ${String(vocabSize)} tokens, where ${path} has ${String(model.vocabSize)}` : `holds other numbers than ${path}`}: its own ${namesOf([...ofBase.keys(), ...ofAdapter.keys()])} count`,
    warnings: warnings.map(
      () =>
        `${folder} holds an embedding and a head that differ, where ${path} ties them: both count, and nothing ties them`,
    ),
  };
};

/**
 * The tensors of a resized model, none of them with the old vocabulary's rows: where nothing reads a table of the base, what the
 * adapter saves whole stands for it.
 *
 * @throws {UserError} listing the tables that lack rows
 */
const withSavedRows = (
  base: ModelFolder,
  { model, weights }: ModelFolder,
  copies: BaseCopies,
): ReadonlyMap<string, TensorEntry> => {
  const whole = new Map(weights);
  const lost: Table[] = [];
  for (const table of tablesOf(model)) {
    const name = tensorOf(model, table);
    const entry = weights.get(name);
    if (!entry || entry.shape[0] === model.vocabSize) continue;
    const saved = copies.ofAdapter.get(table);
    if (saved && isUnread(table, model, copies)) whole.set(name, { ...saved, name });
    else lost.push(table);
  }
  if (lost.length > 0)
    throw new UserError(
      `Cannot put the adapter ${copies.folder} on ${base.path}: found a vocabulary of ${String(model.vocabSize)} tokens in place of ${String(base.model.vocabSize)}, and no ${namesOf(lost)} of so many rows; expected the rows in one of the two`,
      "Give the resized base that it was trained on with --model, or save the adapter again with save_embedding_layers=True",
    );
  return whole;
};
