import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { syncFolder, writeFileAtomically } from "../core/atomic-file.js";
import type { DType, TypedArray } from "../core/dtype.js";
import { dtypes, elementCount, isFloat } from "../core/dtype.js";
import { UserError } from "../core/errors.js";
import { narrowFloat32 } from "../core/half.js";
import type { JsonObject } from "../core/json-file.js";
import { findStandIn } from "../core/stand-in.js";
import { openCompanions } from "./model-files.js";
import { indexName } from "./model-folder.js";
import { defaultShardSize, parseShardSize, planShards, shardName, singleName } from "./shards.js";
import type { TensorToWrite } from "./weights/safetensors.js";
import { toFloat32, writeSafetensors } from "./weights/safetensors.js";

/** What models are stored in. */
export type StorageDType = Extract<DType, "float32" | "float16" | "bfloat16">;

/** A model folder's content: config, tensors, number type and shards. */
export interface ModelToWrite {
  /** Made where it is missing. Weight files of an earlier model in it are removed. */
  readonly path: string;
  /** config.json's content; its dtype field follows `dtype`. */
  readonly rawConfig: JsonObject;
  readonly tensors: Iterable<TensorToWrite>;
  /** Float tensors are rounded to it; as they come where it is left out. */
  readonly dtype?: StorageDType;
  /** The file of each tensor, as `shardOf` of a model that was loaded: shards then lie as in that model. */
  readonly shardOf?: ReadonlyMap<string, string>;
  /** The most data in a file where `shardOf` is not given; left out: defaultShardSize. */
  readonly maxShardBytes?: number;
  /** A model folder whose tokenizer and generation_config.json are copied. */
  readonly copyFrom?: string;
  /** A folder whose tokenizer is copied in place of that of `copyFrom`. */
  readonly tokenizerFrom?: string;
}

const weightFile = /^model(-\d+-of-\d+)?\.safetensors$|^model\.safetensors\.index\.json$/;

/** A tokenizer's files: one folder's, or what one says would count for the other. */
const tokenizerFiles = [
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "vocab.json",
  "merges.txt",
  "tokenizer.model",
  "chat_template.jinja",
];

const round = (name: string, from: DType, data: TypedArray, to: StorageDType): TypedArray => {
  if (from === to) return data;
  const wide = toFloat32(from, data);
  if (to === "float32") return wide;
  const narrow = narrowFloat32(wide, to);
  const infinity = to === "float16" ? 0x7c00 : 0x7f80;
  for (let i = 0; i < narrow.length; i++)
    if (((narrow[i] ?? 0) & 0x7fff) === infinity && Number.isFinite(wide[i]))
      throw new UserError(
        `Cannot write "${name}" as ${to}: found ${String(wide[i])}, which ${to} cannot hold`,
        "Write the model as float32, or as bfloat16",
      );
  return narrow;
};

const withDType = (tensor: TensorToWrite, dtype: StorageDType | undefined): TensorToWrite => {
  const { name, dtype: from, shape, data } = tensor;
  if (dtype === undefined || dtype === from || !isFloat(from)) return tensor;
  return {
    name,
    dtype,
    shape,
    data: async () => round(name, from, typeof data === "function" ? await data() : data, dtype),
  };
};

const byteLengthOf = ({ dtype, shape }: TensorToWrite): number =>
  elementCount(shape) * dtypes[dtype].bytes;

/** Tensors by file, in order. */
const filesOf = (
  tensors: readonly TensorToWrite[],
  { shardOf, maxShardBytes }: Pick<ModelToWrite, "shardOf" | "maxShardBytes">,
): ReadonlyMap<string, readonly TensorToWrite[]> => {
  if (shardOf !== undefined) {
    const shards = new Map<string, TensorToWrite[]>();
    for (const tensor of tensors) {
      const shard = shardOf.get(tensor.name);
      if (shard === undefined)
        throw new RangeError(`Cannot write "${tensor.name}": shardOf lacks it`);
      const others = shards.get(shard);
      if (others) others.push(tensor);
      else shards.set(shard, [tensor]);
    }
    return shards;
  }
  const limit = maxShardBytes ?? parseShardSize(defaultShardSize) ?? Infinity;
  const sized = tensors.map((tensor) => ({ tensor, bytes: byteLengthOf(tensor) }));
  const shards = planShards(sized, limit);
  return new Map(
    shards.map((shard, i) => [shardName(i, shards.length), shard.map(({ tensor }) => tensor)]),
  );
};

const configWithDType = (raw: JsonObject, dtype: StorageDType | undefined): JsonObject => {
  if (dtype === undefined) return raw;
  // transformers 5 says dtype and reads both.
  return { ...raw, ["dtype" in raw ? "dtype" : "torch_dtype"]: dtype };
};

/** @throws {UserError} if one of the files that copyCompanions copies is a pointer of git-lfs */
export const requireCompanions = async (model: string, tokenizer: string): Promise<void> => {
  const paths = ["generation_config.json", ...tokenizerFiles].map((name) =>
    join(name === "generation_config.json" ? model : tokenizer, name),
  );
  for (const path of paths) {
    const standIn = await findStandIn(path);
    if (standIn) throw standIn;
  }
};

/** Fields that transformers 5 refuses as whole numbers, which is how JSON.stringify writes 50.0. */
const floats = /^( {2}"(?:attn|final)_logit_softcapping": \d+)(?=,?$)/gm;

const withFloats = (config: string): string => config.replace(floats, "$1.0");

/** Copies generation_config.json and the tokenizer, by default that of the same model, as far as they are there. */
export const copyCompanions = async (
  model: string,
  to: string,
  tokenizer: string = model,
): Promise<void> => {
  const ofModel = await openCompanions(model);
  const ofTokenizer = tokenizer === model ? ofModel : await openCompanions(tokenizer);
  const files = tokenizerFiles.map((name) => [ofTokenizer, name] as const);
  for (const [read, name] of [[ofModel, "generation_config.json"] as const, ...files]) {
    const content = await read(name);
    if (content) await writeFileAtomically(join(to, name), content);
  }
};

/**
 * Writes a plain Hugging Face model folder: weights (with an index where there are several files), the tokenizer's
 * files, and config.json last, so that a folder without it is known to be incomplete.
 *
 * Tensors are asked for their data one at a time.
 * @throws {UserError} if the folder cannot be written, or a value does not fit into `dtype`
 */
export const writeModelFolder = async (model: ModelToWrite): Promise<void> => {
  const { path, rawConfig, dtype, copyFrom, tokenizerFrom } = model;
  const tensors = [...model.tensors].map((tensor) => withDType(tensor, dtype));
  const shards = filesOf(tensors, model);
  const written = new Set<string>();
  for (const [shard, part] of shards) {
    await writeSafetensors(join(path, shard), part);
    written.add(shard);
  }
  if (!shards.has(singleName)) {
    const weightMap = [...shards].flatMap(([shard, part]) =>
      part.map(({ name }) => [name, shard] as const),
    );
    // Keys in order, as transformers writes them.
    const index = {
      metadata: {
        total_parameters: tensors.reduce((sum, { shape }) => sum + elementCount(shape), 0),
        total_size: tensors.reduce((sum, tensor) => sum + byteLengthOf(tensor), 0),
      },
      weight_map: Object.fromEntries(weightMap.sort(([a], [b]) => (a < b ? -1 : 1))),
    };
    await writeFileAtomically(join(path, indexName), `${JSON.stringify(index, null, 2)}\n`);
    written.add(indexName);
  }
  // A model.safetensors of before would be taken instead of the shards.
  for (const name of await readdir(path))
    if (weightFile.test(name) && !written.has(name)) await rm(join(path, name));
  if (copyFrom !== undefined) await copyCompanions(copyFrom, path, tokenizerFrom);
  const config = configWithDType(rawConfig, dtype);
  await writeFileAtomically(
    join(path, "config.json"),
    withFloats(`${JSON.stringify(config, null, 2)}\n`),
  );
  await syncFolder(path);
};
