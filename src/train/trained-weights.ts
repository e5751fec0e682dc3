import { existsSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../core/errors.js";
import { hubNameOfSnapshot, hubNameText } from "../models/hub/hub-name.js";
import { isClassifier } from "../models/classifier.js";
import { loadModelFolder } from "../models/model-folder.js";
import {
  readSafetensorsHeader,
  readTensorData,
  readTensorAsFloat32,
  writeSafetensors,
  type TensorEntry,
  type TensorToWrite,
} from "../models/weights/safetensors.js";
import { writeModelFolder } from "../models/write-model-folder.js";
import type { Adapter } from "../peft/adapter.js";
import { readAdapter, writeAdapter } from "../peft/adapter-files.js";
import { bakeVirtualTokens } from "../peft/bake-virtual-tokens.js";
import { adapterBaseOf, describeAdapter } from "../peft/build-adapter.js";
import type { Tensor } from "../runtime/tensor.js";
import { writeLabels } from "./classifier-base.js";
import type { BaseModel } from "./load-base.js";
import { valuesOnHost, type ParameterStore } from "./parameters.js";

/** What makes virtual tokens, beside the adapter that holds what it made: peft's files have no place for it. */
const encoderFile = "encoder.safetensors";

/** Sparse LoRA's masks, beside the LoRA that they made. */
const masksFile = "sparse_masks.safetensors";

const masksOf = ({ masks, values }: ParameterStore): readonly TensorToWrite[] =>
  [...masks].map(([name, data]) => ({
    name,
    dtype: "uint8",
    shape: values.get(name)?.shape ?? [],
    data,
  }));

const readMasks = async (folder: string, { masks }: ParameterStore): Promise<void> => {
  masks.clear();
  const path = join(folder, masksFile);
  if (!existsSync(path)) return;
  const { entries } = await readSafetensorsHeader(path);
  for (const [name, entry] of entries) masks.set(name, (await readTensorData(entry)) as Uint8Array);
};

const hasEncoder = ({ virtual }: Adapter): boolean => virtual !== undefined && !virtual.baked;

/** The elements of every tensor in host memory, by name. */
const elementsOf = (tensors: ReadonlyMap<string, Tensor>): ReadonlyMap<string, Float32Array> =>
  new Map([...tensors].map(([name, tensor]) => [name, tensor.data as Float32Array]));

/** What names a model in an adapter's files: of the Hub's models their names, which other machines know too, else the folder. */
const lastingNameOf = (path: string): string => {
  const name = hubNameOfSnapshot(path);
  return name ? hubNameText(name) : path;
};

/**
 * Writes what was trained: a peft adapter folder, or for full fine-tuning a model folder in float32, in files of
 * `maxShardBytes` at most: what training computes with, so that a run that goes on from it loses no bit.
 *
 * Where an encoder makes virtual tokens, the adapter holds these, and a file of its own the encoder. Sparse LoRA's masks
 * have a file of their own too.
 */
export const writeTrainedWeights = async (
  folder: string,
  base: Pick<BaseModel, "folder">,
  adapter: Adapter,
  store: ParameterStore,
  { maxShardBytes }: { readonly maxShardBytes?: number | undefined } = {},
): Promise<void> => {
  const description = describeAdapter(adapter, lastingNameOf(base.folder.path));
  if (description) {
    if (hasEncoder(adapter))
      await writeSafetensors(join(folder, encoderFile), tensorsOf(store, store.values));
    if (store.masks.size > 0) await writeSafetensors(join(folder, masksFile), masksOf(store));
    const values = elementsOf(await bakeVirtualTokens(adapter, valuesOnHost(store)));
    await writeAdapter(folder, description, adapterBaseOf(base.folder.model), values);
    if (isClassifier(base.folder.model)) await writeLabels(folder, base.folder.model);
    return;
  }
  await writeModelFolder({
    path: folder,
    rawConfig: base.folder.rawConfig,
    tensors: tensorsOf(store, inModelOrder(store)),
    dtype: "float32",
    ...(maxShardBytes !== undefined && { maxShardBytes }),
    copyFrom: base.folder.path,
  });
};

/** The store has what decays first. */
const inModelOrder = ({ parameters, values }: ParameterStore): ReadonlyMap<string, Tensor> =>
  new Map(
    parameters.flatMap(({ name }) => {
      const tensor = values.get(name);
      return tensor ? [[name, tensor] as const] : [];
    }),
  );

/** Fetched one at a time: a device's are copied, and a whole model may be among them. */
const tensorsOf = (
  { device }: ParameterStore,
  tensors: ReadonlyMap<string, Tensor>,
): readonly TensorToWrite[] =>
  [...tensors].map(([name, tensor]) => {
    const { shape } = tensor;
    return { name, dtype: "float32", shape, data: () => device.read(tensor) };
  });

/** Reads them back into the store. @throws {UserError} if the folder holds another adapter */
export const readTrainedWeights = async (
  folder: string,
  base: Pick<BaseModel, "folder">,
  adapter: Adapter,
  store: ParameterStore,
): Promise<void> => {
  const read = await readWeights(folder, base, adapter);
  const missing = [...store.values.keys()].filter((name) => !read.has(name));
  if (missing.length > 0)
    throw new UserError(
      `Cannot load the weights in ${folder}: found no ${missing.join(", ")}, expected the parameters of this run`,
    );
  // One tensor at a time: a whole model may be among them.
  for (const [name, tensor] of store.values) {
    const elements = await read.get(name)?.();
    if (elements) store.device.write(tensor, elements);
  }
  await readMasks(folder, store);
};

/** Everything in a folder of trained weights by parameter name, to be read when its turn comes. */
const readWeights = async (
  folder: string,
  base: Pick<BaseModel, "folder">,
  adapter: Adapter,
): Promise<ReadonlyMap<string, () => Float32Array | Promise<Float32Array>>> => {
  const inFile = (entries: ReadonlyMap<string, TensorEntry>) =>
    new Map([...entries].map(([name, entry]) => [name, () => readTensorAsFloat32(entry)]));
  if (adapter.method.kind === "full") return inFile((await loadModelFolder(folder)).weights);
  if (hasEncoder(adapter))
    return inFile((await readSafetensorsHeader(join(folder, encoderFile))).entries);
  const { values } = await readAdapter(folder, adapterBaseOf(base.folder.model));
  return new Map([...values].map(([name, { data }]) => [name, () => data]));
};
