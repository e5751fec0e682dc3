import { UserError, userErrorOfFaults } from "../../core/errors.js";
import { elementCount, type DType } from "../../core/dtype.js";
import type { JsonObject } from "../../core/json-file.js";
import { isJsonObject } from "../../core/json.js";
import { blockCodecs } from "../weights/blocks/block-codec.js";
import { readTensorAsFloat32, type TensorEntry } from "../weights/safetensors.js";
import { turnSizes } from "../weights/turned-codec.js";
import type { GgufArchitecture } from "./architecture.js";
import { ggufArchitectures } from "./architectures.js";
import { GgufFields, shortestFloat32 } from "./gguf-fields.js";
import { readGgufTokenizer, type TokenizerFiles } from "./gguf-tokenizer.js";
import { openGguf, type GgufModel } from "./open-gguf.js";
import { lessOne, pairedRows, plainCodec, turnedStored } from "./paired-rows.js";
import type { GgufTensor } from "./read-gguf.js";
import { LONG_FACTORS, ROPE_FACTORS, ropeScalingOf, SHORT_FACTORS } from "./rope-factors.js";

/** What a Hugging Face folder would hold, from a GGUF file. */
export interface GgufFolder {
  readonly rawConfig: JsonObject;
  readonly rawGeneration: JsonObject;
  /** By Hugging Face names; shapes [out, in], rows in the order of transformers. */
  readonly weights: ReadonlyMap<string, TensorEntry>;
  /** Names of the files within their folder. */
  readonly files: readonly string[];
}

const plainTypes: ReadonlyMap<string, DType> = new Map([
  ["F32", "float32"],
  ["F16", "float16"],
  ["BF16", "bfloat16"],
]);

const readable = [...plainTypes.keys(), ...blockCodecs.keys()];

/** A tensor of a type that can be computed with, under its Hugging Face name. */
const entryOf = (
  { type, shape: storedShape, file, byteOffset, byteLength }: GgufTensor,
  name: string,
  changed?: "turned" | "plus one",
  pairedHeads?: number,
): TensorEntry => {
  const plain = plainTypes.get(type.name);
  const inner = plain ? undefined : blockCodecs.get(type.name);
  const stored = inner ?? plainCodec(plain ?? "float32");
  const turns = changed === "turned" && storedShape.length === 2;
  const [codec, shape] = turns
    ? [turnedStored(stored), turnSizes(storedShape)]
    : changed === "plus one"
      ? [lessOne(stored), storedShape]
      : [pairedHeads === undefined ? inner : pairedRows(stored, pairedHeads), storedShape];
  return {
    name,
    // One less may be finer than what float16 holds.
    dtype: changed === "plus one" ? "float32" : (plain ?? "float32"),
    shape,
    file,
    byteOffset,
    byteLength,
    ...(codec && { codec }),
  };
};

const hasLongrope = ({ rope_scaling: scaling }: JsonObject): boolean =>
  isJsonObject(scaling) && scaling.rope_type === "longrope";

/** Types without a codec, each with its first tensor. */
const unknownTypes = (tensors: Iterable<GgufTensor>): readonly string[] => {
  const found = new Map<string, { first: string; count: number }>();
  for (const { name, type } of tensors) {
    if (readable.includes(type.name)) continue;
    const known = found.get(type.name);
    found.set(type.name, { first: known?.first ?? name, count: (known?.count ?? 0) + 1 });
  }
  return [...found].map(
    ([type, { first, count }]) =>
      `"${first}"${count > 1 ? ` and ${String(count - 1)} others` : ""}: found ${type}, expected one of ${readable.join(", ")}`,
  );
};

const architectureOf = (path: string, { metadata }: GgufModel): GgufArchitecture => {
  const name = metadata.get("general.architecture");
  const kind = metadata.get("general.type") ?? "model";
  if (kind !== "model")
    throw new UserError(
      `Cannot load ${path}: found a GGUF file of the type ${JSON.stringify(kind)}, expected "model"`,
      "Give the model's own file",
    );
  const found = typeof name === "string" ? ggufArchitectures.get(name) : undefined;
  if (found) return found;
  throw new UserError(
    `Cannot load ${path}: found general.architecture ${typeof name === "string" ? JSON.stringify(name) : "missing"}, expected one of ${[...ggufArchitectures.keys()].join(", ")}`,
    "Of other families give the Hugging Face folder",
  );
};

/** The dtype of most matrices' values. */
const dtypeOf = (tensors: ReadonlyMap<string, GgufTensor>): DType => {
  const counts = new Map<DType, number>();
  for (const { type, shape } of tensors.values()) {
    const dtype = plainTypes.get(type.name) ?? "float32";
    if (shape.length > 1) counts.set(dtype, (counts.get(dtype) ?? 0) + elementCount(shape));
  }
  return [...counts].sort(([, a], [, b]) => b - a)[0]?.[0] ?? "float32";
};

/** The config with what stands in tensors of the file: the factors of longrope, or the rule of llama3 scaling. */
const withRopeFactors = async (
  path: string,
  config: JsonObject,
  tensors: ReadonlyMap<string, GgufTensor>,
): Promise<JsonObject> => {
  const { rope_scaling: scalingSoFar } = config;
  if (hasLongrope(config) && isJsonObject(scalingSoFar)) {
    const list = async (name: string): Promise<readonly number[] | undefined> => {
      const tensor = tensors.get(name);
      return (
        tensor && Array.from(await readTensorAsFloat32(entryOf(tensor, name)), shortestFloat32)
      );
    };
    const [short_factor, long_factor] = [await list(SHORT_FACTORS), await list(LONG_FACTORS)];
    return { ...config, rope_scaling: { ...scalingSoFar, short_factor, long_factor } };
  }
  const factors = tensors.get(ROPE_FACTORS);
  if (!factors) return config;
  const values = await readTensorAsFloat32(entryOf(factors, ROPE_FACTORS));
  const scaling = ropeScalingOf(values, Number(config.rope_theta));
  if (scaling) return { ...config, rope_scaling: scaling };
  throw new UserError(
    `Cannot load ${path}: found factors in ${ROPE_FACTORS} that are of another rule, expected those of rope_type "llama3"`,
    "Give the Hugging Face folder, whose config.json names the rule",
  );
};

/** The metadata's part of a model: config, generation_config and tokenizer. */
const readMetadata = (
  path: string,
  model: GgufModel,
): {
  readonly architecture: GgufArchitecture;
  readonly config: JsonObject;
  readonly generation: JsonObject;
  readonly tokenizer: TokenizerFiles | undefined;
} => {
  const architecture = architectureOf(path, model);
  const faults: string[] = [];
  const fields = new GgufFields(model.metadata, faults);
  const config = architecture.config(fields, model.tensors);
  const tokenizer = readGgufTokenizer(
    fields,
    Number(config.max_position_embeddings ?? config.n_positions),
  );
  const vocabulary = model.tensors.get("token_embd.weight")?.shape[0];
  const tokens = model.metadata.get("tokenizer.ggml.tokens");
  if (vocabulary !== undefined && Array.isArray(tokens) && tokens.length > vocabulary)
    fields.fault("tokenizer.ggml.tokens", `at most the ${String(vocabulary)} of token_embd.weight`);
  const count = vocabulary ?? Infinity;
  const id = (key: string): number | null =>
    fields.tokenId(`tokenizer.ggml.${key}_token_id`, count) ?? null;
  // null: without it transformers would take the family's own.
  const ids = { bos_token_id: id("bos"), eos_token_id: id("eos"), pad_token_id: id("padding") };
  faults.push(...unknownTypes(model.tensors.values()));
  if (faults.length > 0)
    throw userErrorOfFaults(
      `Cannot load ${path}`,
      [...new Set(faults)],
      "Fetch another quantization of the model, or its Hugging Face folder",
    );
  return {
    architecture,
    config: {
      ...config,
      // Without an embedding the check of tensors refuses the file.
      vocab_size: vocabulary ?? 1,
      tie_word_embeddings: !model.tensors.has("output.weight"),
      torch_dtype: dtypeOf(model.tensors),
      ...ids,
    },
    generation: ids,
    tokenizer,
  };
};

/**
 * A GGUF file, or all parts of a split one, as a Hugging Face folder: names, shapes and order of rows are that folder's. No
 * weight is read.
 *
 * @throws {UserError} on a file that readGguf refuses, another architecture, types without a codec, and fields that are missing
 */
export const readGgufFolder = async (path: string): Promise<GgufFolder> => {
  const model = await openGguf(path);
  const { architecture, config, generation } = readMetadata(path, model);
  const rawConfig = await withRopeFactors(path, config, model.tensors);
  const ropeTensors = [ROPE_FACTORS, ...(hasLongrope(config) ? [LONG_FACTORS, SHORT_FACTORS] : [])];
  const weights = new Map<string, TensorEntry>();
  for (const [name, tensor] of model.tensors) {
    if (ropeTensors.includes(name)) continue;
    // Under its own name one that no model has is told by the check of tensors.
    const known = architecture.nameOf(name) ?? name;
    const heads = architecture.pairedHeads(name, rawConfig);
    const rows = tensor.shape[0] ?? 0;
    const pairs = heads !== undefined && rows % (2 * heads) === 0 ? heads : undefined;
    weights.set(known, entryOf(tensor, known, architecture.stored?.(name), pairs));
  }
  return { rawConfig, rawGeneration: generation, weights, files: model.files };
};

/** Texts of the files that go with a model's weights in a Hugging Face folder, made from the metadata. @throws {UserError} as readGgufFolder */
export const readGgufCompanions = async (path: string): Promise<ReadonlyMap<string, string>> => {
  const { generation, tokenizer } = readMetadata(path, await openGguf(path));
  const text = (value: JsonObject): string => `${JSON.stringify(value, null, 2)}\n`;
  return new Map([
    ["generation_config.json", text(generation)],
    ...Object.entries(tokenizer ?? {}).map(([name, value]): [string, string] => [
      name,
      text(value as JsonObject),
    ]),
  ]);
};
