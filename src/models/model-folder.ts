import { basename, dirname, join, resolve } from "node:path";
import { didYouMean, UserError, userErrorOfFaults } from "../core/errors.js";
import { listFolder } from "../core/folder.js";
import { hashInBackground } from "../core/hash-in-background.js";
import type { JsonObject } from "../core/json-file.js";
import { quoteJson, readJsonObject } from "../core/json-file.js";
import { isJsonObject } from "../core/json.js";
import { StandInError } from "../core/stand-in.js";
import { readGgufFolder } from "./gguf/gguf-model.js";
import { isGgufPath } from "./gguf/open-gguf.js";
import { readGenerationConfig, type GenerationFile } from "./generation-config.js";
import { checkModelTensors } from "./check-tensors.js";
import { classifierModel, labelsOfConfig } from "./classifier.js";
import { modelFile } from "./model-files.js";
import { completeNames } from "./name-prefix.js";
import { nameShards, singleName } from "./shards.js";
import { families } from "./families.js";
import type { OpenModel } from "./family.js";
import type { Model, ModelTokenIds } from "./model.js";
import { readTokenIds } from "./token-ids.js";
import { requireUnquantizedConfig, requireUnquantizedNames } from "./quantized.js";
import { resolveTiedHead } from "./tied-head.js";
import type { TensorEntry } from "./weights/safetensors.js";
import { readSafetensorsHeader } from "./weights/safetensors.js";

/** Token ids for decoding: generation_config.json's, and config.json's where it says nothing. */
export interface SpecialTokenIds {
  readonly bosId: number | undefined;
  /** Any of them ends a text. */
  readonly eosIds: readonly number[];
  readonly padId: number | undefined;
}

/** A Hugging Face model folder, or a GGUF file, whose config and tensor headers are checked; no weight is in memory. */
export interface ModelFolder {
  /** Of the folder or the file. Absolute; symbolic links are left as they are. */
  readonly path: string;
  readonly model: Model;
  /** config.json for copies of the model: as it stands, but for what the tensors contradict. */
  readonly rawConfig: JsonObject;
  readonly tokenIds: SpecialTokenIds;
  /** Of generation_config.json; where it is missing, of config.json, in which old models have these fields. */
  readonly generation: GenerationFile;
  /** By tensor name, with the file and place of each. */
  readonly weights: ReadonlyMap<string, TensorEntry>;
  /**
   * The weight file of each tensor, by tensor name: its name within the folder, which a link may give to another file. Of a GGUF
   * file, those that copies in safetensors have.
   */
  readonly shardOf: ReadonlyMap<string, string>;
  /** Names, for modelFile, of the files the model was loaded from: config first, weights last. */
  readonly files: readonly string[];
  /** Where the files contradict themselves: what they were taken for, for the person to read. */
  readonly warnings: readonly string[];
}

/** The file that says which shard holds which tensor, as transformers names it. */
export const indexName = "model.safetensors.index.json";
const pickleName = /^pytorch_model.*\.bin$/;

/** How to come by a model that is not where `path` says. */
const downloadHint = (path: string): string =>
  /^[\w.-]+\/[\w.-]+$/.test(path)
    ? `A folder ${dirname(path)} is there, so it is taken for a path: ${path}@main is the model on the Hub`
    : "Give the folder of a model with config.json, model.safetensors and tokenizer.json, or the name of one on the Hub, org/name";

const namesIn = (path: string): Promise<readonly string[]> =>
  listFolder(path, {
    task: `Cannot load a model from ${path}`,
    expected: "a folder with config.json",
    hint: (found) =>
      found === "nothing" ? downloadHint(path) : "Give the folder that holds the file",
  });

/** A model's config.json, checked; a classifier's gives a classifier. @throws {UserError} as loadModelFolder */
export const parseConfig = (raw: JsonObject, where: string): Model => {
  const model = familyOf(raw, where)(raw, where);
  const labels = labelsOfConfig(raw, where);
  return labels ? classifierModel(model, labels) : model;
};

/**
 * What a config.json says of a model's numbers, in one text: not how the file is laid out, nor which tokens begin, end and fill texts.
 *
 * @throws {UserError} as loadModelFolder
 */
export const numbersOfConfig = (raw: JsonObject, where: string): string =>
  JSON.stringify({
    ...familyOf(raw, where).readConfig(raw, where),
    labels: labelsOfConfig(raw, where),
    ...{ bosId: undefined, eosIds: undefined, padId: undefined },
  });

const familyOf = (raw: JsonObject, where: string): OpenModel => {
  const type = raw.model_type;
  if (typeof type === "string" && Object.hasOwn(families, type))
    return families[type as keyof typeof families];
  const supported = Object.keys(families);
  throw new UserError(
    `Cannot load ${where}: found model_type ${quoteJson(type)}, expected one of ${supported.join(", ")}`,
    typeof type === "string" ? didYouMean(type, supported) : undefined,
  );
};

const parseTokenIds = (config: ModelTokenIds, raw: JsonObject, where: string): SpecialTokenIds => {
  const faults: string[] = [];
  const single = (name: string, fallback: number | undefined): number | undefined =>
    raw[name] === null
      ? fallback
      : readTokenIds(raw, name, faults, fallback === undefined ? [] : [fallback])[0];
  const eosIds =
    raw.eos_token_id === null
      ? config.eosIds
      : readTokenIds(raw, "eos_token_id", faults, config.eosIds);
  const ids = {
    bosId: single("bos_token_id", config.bosId),
    eosIds,
    padId: single("pad_token_id", config.padId),
  };
  if (faults.length > 0) throw userErrorOfFaults(`Cannot load ${where}`, faults);
  return ids;
};

type Weights = Pick<ModelFolder, "weights" | "shardOf">;

/** The tensors of all shards that an index names; shards that are missing or broken and tensors not in theirs are one error. */
const readShards = async (folder: string): Promise<Weights> => {
  const where = join(folder, indexName);
  const { weight_map: map } = await readJsonObject(where);
  if (!isJsonObject(map))
    throw new UserError(
      `Cannot read ${where}: found weight_map ${quoteJson(map)}, expected an object`,
    );
  const faults: string[] = [];
  const namesByShard = new Map<string, string[]>();
  for (const [name, shard] of Object.entries(map)) {
    // A shard lies in this folder: an index must not reach out of it.
    if (typeof shard !== "string" || basename(shard) !== shard || shard === "..") {
      faults.push(
        `"${name}": found ${quoteJson(shard)}, expected the name of a file beside the index`,
      );
      continue;
    }
    const names = namesByShard.get(shard);
    if (names) names.push(name);
    else namesByShard.set(shard, [name]);
  }
  const weights = new Map<string, TensorEntry>();
  const shardOf = new Map<string, string>();
  for (const [shard, names] of namesByShard) {
    try {
      const { entries } = await readSafetensorsHeader(join(folder, shard));
      for (const name of names) {
        const entry = entries.get(name);
        if (entry) {
          weights.set(name, entry);
          shardOf.set(name, shard);
        } else faults.push(`"${name}": found no such tensor in ${shard}, expected it there`);
      }
    } catch (error) {
      if (!(error instanceof UserError) || error instanceof StandInError) throw error;
      faults.push(error.message);
    }
  }
  if (faults.length > 0)
    throw userErrorOfFaults(
      `Cannot load the weights that ${where} lists`,
      faults,
      "Fetch the missing files, or all of them again",
    );
  return { weights, shardOf };
};

const readWeights = async (path: string, names: readonly string[]): Promise<Weights> => {
  if (names.includes(singleName)) {
    const { entries } = await readSafetensorsHeader(join(path, singleName));
    return {
      weights: entries,
      shardOf: new Map([...entries.keys()].map((name) => [name, singleName])),
    };
  }
  if (names.includes(indexName)) return readShards(path);
  if (names.some((name) => pickleName.test(name)))
    throw new UserError(
      `Cannot load a model from ${path}: found only pickles (pytorch_model.bin), expected ${singleName}`,
      "Pickles can run any code and are not read. Convert them where you trust them: python -c " +
        `"from transformers import AutoModelForCausalLM as M; M.from_pretrained('${path}').save_pretrained('${path}')"`,
    );
  throw new UserError(
    `Cannot load a model from ${path}: found no weights, expected ${singleName} or ${indexName}`,
    "Fetch the model's files again",
  );
};

/** A GGUF file as loadModelFolder gives a folder. */
const loadGguf = async (path: string): Promise<ModelFolder> => {
  const { rawConfig, rawGeneration, weights, files } = await readGgufFolder(path);
  const model = parseConfig(rawConfig, path);
  checkModelTensors(model, weights, path);
  return {
    path: resolve(path),
    model,
    rawConfig,
    tokenIds: parseTokenIds(model, rawGeneration, path),
    generation: readGenerationConfig(rawGeneration, path),
    weights,
    shardOf: nameShards([...weights.values()]),
    files,
    warnings: [],
  };
};

/**
 * Loads and checks everything of a Hugging Face model folder but the weights' values.
 *
 * Reads config.json, generation_config.json where there is one, and the headers of model.safetensors or of the shards
 * that model.safetensors.index.json names; values only of a head that may be tied (see resolveTiedHead). Symbolic links, as in the Hub's cache, are followed.
 * A path that ends in .gguf is a file with all of this in its metadata, or the first of several.
 * @throws {UserError} if the folder or a file is missing, the model_type is not supported, a field is wrong, or tensors
 *   are missing or misshapen; each of these lists all it found
 */
export const loadModelFolder = async (path: string): Promise<ModelFolder> => {
  if (isGgufPath(path)) return loadGguf(path);
  const names = await namesIn(path);
  if (!names.includes("config.json"))
    throw new UserError(
      `Cannot load a model from ${path}: found no config.json, expected a Hugging Face model folder`,
      names.includes("adapter_config.json")
        ? "This is an adapter: give it as --ckpt, and its base model as --model"
        : downloadHint(""),
    );
  const rawConfig = await readJsonObject(join(path, "config.json"));
  requireUnquantizedConfig(rawConfig, join(path, "config.json"));
  const parsed = parseConfig(rawConfig, join(path, "config.json"));
  const generation = "generation_config.json";
  const hasGeneration = names.includes(generation);
  const rawGeneration = hasGeneration ? await readJsonObject(join(path, generation)) : {};
  const tokenIds = parseTokenIds(parsed, rawGeneration, join(path, generation));
  // As transformers does: a generation_config.json that is there replaces all of what config.json says of decoding.
  const generationFile = hasGeneration
    ? readGenerationConfig(rawGeneration, join(path, generation))
    : readGenerationConfig(rawConfig, join(path, "config.json"));
  const found = completeNames(parsed, await readWeights(path, names));
  const model = parsed.fitted?.((name) => found.weights.has(name)) ?? parsed;
  requireUnquantizedNames(found.weights.keys(), path);
  const shards = [...new Set(found.shardOf.values())];
  const { files, warnings } = await resolveTiedHead({ model, rawConfig, ...found }, path);
  checkModelTensors(files.model, files.weights, path);
  return {
    ...files,
    // Integers among them, such as position_ids, are no weights.
    weights: new Map([...files.weights].filter(([name]) => !files.model.isRedundant(name))),
    path: resolve(path),
    tokenIds,
    generation: generationFile,
    warnings,
    files: [
      "config.json",
      ...(hasGeneration ? [generation] : []),
      ...(shards.includes(singleName) ? [] : [indexName]),
      ...shards,
    ],
  };
};

/**
 * Starts to hash the model's files, which takes a second for each GB or so, while other work goes on.
 *
 * @returns what waits for the SHA-256 of each, as hexadecimal digits, by name
 */
export const hashModelFiles = async ({
  path,
  files,
}: Pick<ModelFolder, "path" | "files">): Promise<
  () => Promise<Readonly<Record<string, string>>>
> => {
  const hashes = await hashInBackground(files.map((name) => modelFile(path, name)));
  return async () => {
    const found = await hashes();
    return Object.fromEntries(files.map((name, i) => [name, found[i] ?? ""]));
  };
};
