import { elementCount } from "../core/dtype.js";
import type { JsonObject } from "../core/json-file.js";
import type { Adapter } from "../peft/adapter.js";
import { adapterConfig } from "../peft/adapter-files.js";
import { adapterBaseOf, describeAdapter } from "../peft/build-adapter.js";
import { hira, type HiraOptions } from "../peft/hira.js";
import { originalHiraConfig, type OutputFile } from "../report/output-jsonl.js";
import type { PythonValue } from "../report/python-format.js";
import type { BaseModel } from "../train/load-base.js";

/** What the flags of the training run say of A and B; HiRA's line has them in words. */
export interface HiraFlags {
  /** Of --init_ab. */
  readonly init: string;
  /** Of --train_ab. */
  readonly train: string;
  readonly targetModules: readonly string[];
}

/**
 * Line 2 of output.jsonl: HiRA's configuration as the authors' program writes it; of the other methods what stands in their
 * adapter_config.json; nothing for full fine-tuning and for a plain model.
 */
export const outputConfigOf = (
  base: BaseModel,
  adapter: Adapter | undefined,
  modelName: string,
  flags: HiraFlags,
): OutputFile["adapterConfig"] => {
  const description = adapter && describeAdapter(adapter, modelName);
  if (!adapter || !description) return undefined;
  if (adapter.method.name === hira.name) {
    const { rank, randomR } = adapter.options as HiraOptions;
    const [initA = "", initB = ""] = flags.init.split(",").map((name) => name.trim());
    return originalHiraConfig({
      modelName,
      randR: randomR,
      rank,
      initA,
      initB,
      trainA: flags.train.startsWith("y"),
      trainB: flags.train.endsWith("y"),
      targetModules: flags.targetModules,
    });
  }
  const config: JsonObject = adapterConfig(description, adapterBaseOf(base.folder.model));
  return config as { readonly [key: string]: PythonValue };
};

/** Line 4: parameters that train, and all of the model with its adapter. */
export const countParameters = (
  base: BaseModel,
  adapter: Adapter | undefined,
): { readonly trainable: number; readonly all: number } => {
  const count = (shapes: Iterable<readonly number[]>) =>
    [...shapes].reduce((sum, shape) => sum + elementCount(shape), 0);
  const { weights, model: described } = base.folder;
  // A classifier's head that the files lack is there beside its copy that trains, as peft counts.
  const made = [...described.tensors].filter(([name]) => !weights.has(name));
  const model =
    count([...weights.values()].map(({ shape }) => shape)) + count(made.map(([, shape]) => shape));
  if (!adapter) return { trainable: 0, all: model };
  const trainable = count(
    adapter.parameters.filter((spec) => spec.trainable).map(({ shape }) => shape),
  );
  if (adapter.method.kind === "full") return { trainable, all: model };
  return { trainable, all: model + count(adapter.parameters.map(({ shape }) => shape)) };
};
