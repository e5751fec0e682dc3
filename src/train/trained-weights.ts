import { UserError } from "../core/errors.js";
import { loadModelFolder } from "../models/model-folder.js";
import { readTensorsAsFloat32 } from "../models/weights/safetensors.js";
import { writeModelFolder } from "../models/write-model-folder.js";
import type { Adapter } from "../peft/adapter.js";
import { readAdapter, writeAdapter } from "../peft/adapter-files.js";
import { adapterBaseOf, describeAdapter } from "../peft/build-adapter.js";
import type { BaseModel } from "./load-base.js";
import type { ParameterStore } from "./parameters.js";

/** The elements of every parameter by name. */
const elementsOf = ({ values }: ParameterStore): ReadonlyMap<string, Float32Array> =>
  new Map([...values].map(([name, tensor]) => [name, tensor.data as Float32Array]));

/** Writes what was trained: a peft adapter folder, or for full fine-tuning a model folder in float32. */
export const writeTrainedWeights = async (
  folder: string,
  base: Pick<BaseModel, "folder">,
  adapter: Adapter,
  store: ParameterStore,
): Promise<void> => {
  const description = describeAdapter(adapter, base.folder.path);
  if (description) {
    await writeAdapter(folder, description, adapterBaseOf(base.folder.config), elementsOf(store));
    return;
  }
  await writeModelFolder({
    path: folder,
    rawConfig: base.folder.rawConfig,
    tensors: [...store.values].map(([name, tensor]) => ({
      name,
      dtype: "float32",
      shape: tensor.shape,
      data: tensor.data,
    })),
    dtype: "float32",
    copyFrom: base.folder.path,
  });
};

/** Reads them back into the store. @throws {UserError} if the folder holds another adapter */
export const readTrainedWeights = async (
  folder: string,
  base: Pick<BaseModel, "folder">,
  adapter: Adapter,
  store: ParameterStore,
): Promise<void> => {
  const read =
    adapter.method.kind === "full"
      ? await readTensorsAsFloat32((await loadModelFolder(folder)).weights)
      : new Map(
          [...(await readAdapter(folder, adapterBaseOf(base.folder.config))).values].map(
            ([name, { data }]) => [name, data] as const,
          ),
        );
  const missing = [...store.values.keys()].filter((name) => !read.has(name));
  if (missing.length > 0)
    throw new UserError(
      `Cannot load the weights in ${folder}: found no ${missing.join(", ")}, expected the parameters of this run`,
    );
  for (const [name, tensor] of store.values)
    (tensor.data as Float32Array).set(read.get(name) ?? new Float32Array());
};
