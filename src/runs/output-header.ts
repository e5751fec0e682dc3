import { elementCount } from "../core/dtype.js";
import type { JsonObject } from "../core/json-file.js";
import type { Adapter } from "../peft/adapter.js";
import { adapterConfig } from "../peft/adapter-files.js";
import { adapterBaseOf, describeAdapter } from "../peft/build-adapter.js";
import { originalHiraConfig, type OutputFile } from "../report/output-jsonl.js";
import type { PythonValue } from "../report/python-format.js";
import type { BaseModel } from "../train/load-base.js";

/** What the flags of the training run say of A and B; HiRA's line has them in words. */
export interface HiraFlags {
  readonly initA: string;
  readonly initB: string;
  readonly targetModules: readonly string[];
  readonly trainA: boolean;
  readonly trainB: boolean;
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
  const { rank, randomR } = adapter.options;
  if (adapter.method.name === "hira")
    return originalHiraConfig({ modelName, randR: randomR, rank, ...flags });
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
  const model = count([...base.folder.weights.values()].map(({ shape }) => shape));
  if (!adapter) return { trainable: 0, all: model };
  const trainable = count(
    adapter.parameters.filter((spec) => spec.trainable).map(({ shape }) => shape),
  );
  if (adapter.method.kind === "full") return { trainable, all: model };
  return { trainable, all: model + count(adapter.parameters.map(({ shape }) => shape)) };
};
