import { join } from "node:path";
import { writeFileAtomically } from "../core/atomic-file.js";
import { elementCount } from "../core/dtype.js";
import { didYouMean, UserError, userErrorOfFaults } from "../core/errors.js";
import { listFolder } from "../core/folder.js";
import type { JsonObject } from "../core/json-file.js";
import { quoteJson, readJsonObject } from "../core/json-file.js";
import type { TensorEntry } from "../models/weights/safetensors.js";
import {
  readSafetensorsHeader,
  readTensorAsFloat32,
  writeSafetensors,
} from "../models/weights/safetensors.js";
import { shapeText } from "../models/weights/tensor-faults.js";
import { findMisfit, namesLayersOf, type AdapterMisfit } from "./adapter-misfit.js";
import {
  baseModelOf,
  type AdapterBase,
  type AdapterDescription,
  type AdapterFormat,
} from "./formats/format.js";
import { adapterFormats } from "./adapter-formats.js";
import { namesToSave } from "./modules-to-save.js";
import { findBaseCopies, isBaseCopy, type BaseCopies } from "./base-copies.js";

/** A parameter's values in float32, row-major. */
export interface AdapterValue {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** An adapter folder, read: what it adapts, and its parameters. */
export interface LoadedAdapter {
  readonly adapter: AdapterDescription;
  /** By our parameter names: `<module path>.A`, `.B`, `.R`, `.magnitude`; `table`, `embedding` for virtual tokens. */
  readonly values: ReadonlyMap<string, AdapterValue>;
}

const configName = "adapter_config.json";
const weightsName = "adapter_model.safetensors";

const namesIn = (folder: string): Promise<readonly string[]> =>
  listFolder(folder, {
    task: `Cannot load an adapter from ${folder}`,
    expected: `a folder with ${configName} and ${weightsName}`,
  });

/**
 * The config of an adapter folder, before its model is known.
 *
 * @returns adapter_config.json as it stands, and where the base model was when the adapter was made
 * @throws {UserError} if the folder or the file is missing or broken
 */
export const readAdapterConfig = async (
  folder: string,
): Promise<{ readonly config: JsonObject; readonly baseModel: string | undefined }> => {
  if (!(await namesIn(folder)).includes(configName))
    throw new UserError(
      `Cannot load an adapter from ${folder}: found no ${configName}, expected a folder that peft or hira wrote`,
    );
  const config = await readJsonObject(join(folder, configName));
  return { config, baseModel: baseModelOf(config) };
};

const formatOf = (config: JsonObject, where: string): AdapterFormat => {
  const format = adapterFormats.find((candidate) => candidate.reads(config));
  if (format) return format;
  const known = [...new Set(adapterFormats.map(({ peftType }) => peftType))];
  const type = config.peft_type;
  throw new UserError(
    `Cannot load ${where}: found peft_type ${quoteJson(type)}, expected one of ${known.join(", ")}`,
    typeof type === "string" ? didYouMean(type, known) : undefined,
  );
};

const otherModelHint = (baseModel: string | undefined): string =>
  baseModel === undefined
    ? "The adapter was made for another model: give that with --model"
    : `The adapter was made for "${baseModel}": give that model with --model`;

const describeAdapter = (
  config: JsonObject,
  {
    format,
    base,
    entries,
    where,
  }: {
    readonly format: AdapterFormat;
    readonly base: AdapterBase;
    readonly entries: ReadonlyMap<string, TensorEntry>;
    readonly where: string;
  },
): AdapterDescription => {
  const faults: string[] = [];
  const adapter = format.parse(config, base, faults);
  const baseModel = baseModelOf(config);
  // Virtual tokens tell the model's sizes in their config.
  const isOfOtherModel = faults.some((fault) => fault.endsWith("for this model"));
  if (faults.length > 0)
    throw userErrorOfFaults(
      `Cannot load ${where} as ${format.title}`,
      faults,
      isOfOtherModel ? otherModelHint(baseModel) : undefined,
    );
  if ("modules" in adapter && adapter.modules.size === 0)
    throw new UserError(
      `Cannot load ${where}: found target_modules ${quoteJson(config.target_modules)}, which match no linear layer of the model, expected such as ${base.modules[0]?.path ?? "q_proj"}`,
      namesLayersOf(base, entries)
        ? `The tensors beside it are of the model's layers: see whether ${configName} names them`
        : otherModelHint(baseModel),
    );
  return adapter;
};

const requireWeights = async (folder: string): Promise<string> => {
  const names = await namesIn(folder);
  if (names.includes(weightsName)) return join(folder, weightsName);
  if (names.includes("adapter_model.bin"))
    throw new UserError(
      `Cannot load an adapter from ${folder}: found a pickle (adapter_model.bin), expected ${weightsName}`,
      `Pickles can run any code and are not read. Convert it once, with PyTorch: python scripts/convert_adapter_bin.py ${folder}`,
    );
  throw new UserError(
    `Cannot load an adapter from ${folder}: found no ${weightsName}, expected it beside ${configName}`,
    "Fetch or copy the whole folder again",
  );
};

/** What to do about an adapter that does not fit: another model only where its shapes say so. */
const misfitHint = (
  { isOfOtherModel, configFields }: AdapterMisfit,
  baseModel: string | undefined,
): string | undefined =>
  isOfOtherModel
    ? otherModelHint(baseModel)
    : configFields.length > 0
      ? `Config and tensors disagree: see whether ${configName} says ${configFields.join(" and ")}`
      : undefined;

/** The base's embedding and head in an adapter's file (see withBaseCopies). @throws {UserError} as readAdapter, if a file is missing */
export const readBaseCopies = async (
  folder: string,
  base: Pick<AdapterBase, "tieWordEmbeddings" | "embedding" | "head">,
): Promise<BaseCopies> => {
  const { config } = await readAdapterConfig(folder);
  const { entries } = await readSafetensorsHeader(await requireWeights(folder));
  return findBaseCopies(folder, base, namesToSave(config, base), entries);
};

/**
 * Reads an adapter folder of the peft package, of `hira`, or of the HiRA authors' program (as safetensors), and checks it
 * against the model that it is for.
 *
 * @param options.copiesAreInBase `base` is what withBaseCopies makes of the folder's copies; without it they are unexpected tensors
 * @returns the values in float32, by our parameter names
 * @throws {UserError} if a file is missing or a pickle; if the config is not supported; if tensors are missing, misshapen
 *   or unexpected: each time one error that lists all
 */
export const readAdapter = async (
  folder: string,
  base: AdapterBase,
  { copiesAreInBase = false }: { readonly copiesAreInBase?: boolean } = {},
): Promise<LoadedAdapter> => {
  const { config, baseModel } = await readAdapterConfig(folder);
  const where = join(folder, configName);
  const format = formatOf(config, where);
  const path = await requireWeights(folder);
  const inFile = (await readSafetensorsHeader(path)).entries;
  const saved = namesToSave(config, base);
  const entries = copiesAreInBase
    ? new Map([...inFile].filter(([name]) => !isBaseCopy(name, base, saved)))
    : inFile;
  const described = { format, base, entries, where };
  let adapter = describeAdapter(config, described);
  let misfit = findMisfit(format, adapter, base, entries);
  const otherConfig = misfit && format.otherReading?.(config);
  if (otherConfig) {
    const other = describeAdapter(otherConfig, described);
    if (!findMisfit(format, other, base, entries)) [adapter, misfit] = [other, undefined];
  }
  if (misfit)
    throw userErrorOfFaults(
      `Cannot load weights from ${path}`,
      misfit.lines,
      misfitHint(misfit, baseModel),
      misfit.inCommon,
    );
  const values = new Map<string, AdapterValue>();
  for (const { name, fileName, shape } of format.tensors(adapter, base)) {
    const entry = entries.get(fileName);
    if (entry) values.set(name, { shape, data: await readTensorAsFloat32(entry) });
  }
  return { adapter, values };
};

const formatFor = (adapter: AdapterDescription): AdapterFormat => {
  const format = adapterFormats.find((candidate) => candidate.writes?.(adapter));
  if (!format) throw new RangeError(`Cannot write an adapter: found method "${adapter.method}"`);
  return format;
};

/** The content of an adapter's adapter_config.json, keys in order. */
export const adapterConfig = (adapter: AdapterDescription, base: AdapterBase): JsonObject =>
  Object.fromEntries(
    Object.entries(formatFor(adapter).configOf(adapter, base)).sort(([a], [b]) => (a < b ? -1 : 1)),
  );

/**
 * Writes an adapter folder that the peft package loads: the weights in float32, then adapter_config.json, so that a
 * folder without a config is known to be incomplete. HiRA with --rand_R, which peft lacks, is refused by peft's loader.
 *
 * @param values by our parameter names, exactly those of the adapter
 * @throws {UserError} if the folder cannot be written
 * @throws {RangeError} if a value is missing, left over or of another size
 */
export const writeAdapter = async (
  folder: string,
  adapter: AdapterDescription,
  base: AdapterBase,
  values: ReadonlyMap<string, Float32Array>,
): Promise<void> => {
  const tensors = formatFor(adapter).tensors(adapter, base);
  const wrong = tensors
    .filter(({ name, shape }) => values.get(name)?.length !== elementCount(shape))
    .map(({ name, shape }) => `"${name}" ${shapeText(shape)}`);
  const known = new Set(tensors.map(({ name }) => name));
  const foreign = [...values.keys()].filter((name) => !known.has(name));
  if (wrong.length + foreign.length > 0)
    throw new RangeError(
      `Cannot write an adapter to ${folder}: expected values for ${wrong.join(", ") || "nothing more"}, found left over ${foreign.join(", ") || "nothing"}`,
    );

  await writeSafetensors(
    join(folder, weightsName),
    tensors.map(({ name, fileName, shape }) => ({
      name: fileName,
      dtype: "float32",
      shape,
      data: values.get(name) ?? new Float32Array(0),
    })),
  );
  await writeFileAtomically(
    join(folder, configName),
    `${JSON.stringify(adapterConfig(adapter, base), null, 2)}\n`,
  );
};
